//! `foreshadow relocation`: whom the server would move, and why.

use std::io::Write;

use crate::api::client::escape;
use crate::api::relocation::{CandidateView, RelocationView};

use super::args_shadows::Relocation;
use super::entries::{client, row};
use super::exit::Failure;
use super::output::Output;
use super::table::Table;

/// Shows what would be done about the pools of a network that are short.
pub(super) fn relocation(said: &Relocation, out: &mut Output) -> Result<(), Failure> {
    let path = format!("/v1/networks/{}/relocations", escape(&said.network));
    let found: Vec<RelocationView> = client(&said.asked)?.get(&path)?;
    if said.asked.json {
        return out.json(&found);
    }
    if found.is_empty() {
        return Ok(writeln!(out, "no pool of {} is short", said.network)?);
    }
    for view in found {
        let RelocationView { pool, mode, lacking, draining, frozen, candidates, .. } = view;
        let frozen = if frozen { ", frozen now" } else { "" };
        writeln!(
            out,
            "{pool} lacks {lacking} for its hot tier; {draining} being moved; relocation is {mode}{frozen}"
        )?;
        let header = ["ADDRESS", "ACCOUNT", "TIER", "SCORE", "COST", "PARTS", "TO", "STAYS"];
        let mut table = Table::new(&header);
        for candidate in &candidates {
            let cells = cells(candidate);
            row(&mut table, &cells.each_ref().map(|cell| Some(cell.as_str())));
        }
        let colour = out.colour();
        table.write(out, colour)?;
    }
    Ok(())
}

fn cells(candidate: &CandidateView) -> [String; 8] {
    let parts: Vec<String> =
        candidate.parts.iter().map(|of| format!("{} {}", of.part, of.percent)).collect();
    let text = |text: &Option<String>| text.clone().unwrap_or_else(|| "-".into());
    [
        candidate.address.clone(),
        text(&candidate.account),
        candidate.tier.clone(),
        format!("{:.4}", candidate.score),
        format!("{} %", candidate.cost),
        parts.join(", "),
        text(&candidate.to),
        text(&candidate.stays),
    ]
}
