//! `foreshadow score`: what an address is worth, and why.

use std::io::Write;

use crate::api::client::escape;
use crate::api::score::ScoreView;

use super::args::Score;
use super::entries::{client, row};
use super::exit::Failure;
use super::output::Output;
use super::table::Table;

/// Shows the score of an address on each network that has it.
pub(super) fn score(said: &Score, out: &mut Output) -> Result<(), Failure> {
    let network = said.network.as_deref();
    let network = network.map_or(String::new(), |name| format!("?network={}", escape(name)));
    let path = format!("/v1/scores/{}{network}", escape(&said.address.to_string()));
    let found: Vec<ScoreView> = client(&said.asked)?.get(&path)?;
    if said.asked.json {
        return out.json(&found);
    }
    for view in found {
        let ScoreView { address, network, state, tier, score, .. } = &view;
        let tier = tier.as_ref().map_or(String::new(), |tier| format!(", {tier}"));
        writeln!(out, "{address} on {network}, {state}{tier}: score {score:.4}")?;
        let ScoreView { whole, since, half_life_s, parts, .. } = view;
        let mut table = Table::new(&["PART", "SHARE", "WEIGHT", "FROM"]);
        for part in parts {
            let (share, weight) = (format!("{:.4}", part.value), part.weight.to_string());
            let cells = [&part.part, &share, &weight, &part.from];
            row(&mut table, &cells.map(|cell| Some(cell.as_str())));
        }
        let colour = out.colour();
        table.write(out, colour)?;
        if let Some(since) = since {
            writeln!(out, "{whole:.4} since {since}, halved every {half_life_s} s")?;
        }
    }
    Ok(())
}
