//! `foreshadow predict` and `foreshadow shadows`.

use std::io::Write;

use serde_json::{Value, json};

use crate::api::client::escape;
use crate::api::shadows::{
    AvailableView, PredictionRequest, PredictionView, ShadowView, ShadowsView, TallyView,
};
use crate::base::Resource;

use super::args::Asked;
use super::args_shadows::{Predict, Shadows, Whom};
use super::entries::{all, client, row, show};
use super::exit::Failure;
use super::output::Output;
use super::table::Table;

/// Says what is foreseen.
pub(super) fn predict(said: Predict, out: &mut Output) -> Result<(), Failure> {
    let Whom { network, account, application } = said.whom;
    let request = PredictionRequest {
        network,
        account,
        application,
        count: said.count,
        horizon_s: said.horizon,
        quantiles: said.quantiles.into_iter().collect(),
        instance_type: said.instance_type,
        region: said.region,
        ..PredictionRequest::default()
    };
    let view: PredictionView = client(&said.asked)?.post("/v1/predict_instances", &request)?;
    show(&view, &said.asked, out)
}

/// Does what was asked of the shadows.
pub(super) fn shadows(command: Shadows, out: &mut Output) -> Result<(), Failure> {
    match command {
        Shadows::List { network, account, application, asked } => {
            let of = [("network", &network), ("account", &account), ("application", &application)];
            let found: Vec<ShadowView> = all(&mut client(&asked)?, "/v1/shadows", "shadows", &of)?;
            list(&found, &asked, out)
        }
        Shadows::Predictions { account, asked } => {
            let of = [("account", &account)];
            let found: Vec<PredictionView> =
                all(&mut client(&asked)?, "/v1/predictions", "predictions", &of)?;
            predictions(&found, &asked, out)
        }
        Shadows::Available { whom, ipv6, asked } => {
            let view: AvailableView = client(&asked)?.get(&available(&whom, ipv6))?;
            show(&view, &asked, out)
        }
        Shadows::Reserve { count, whom, ipv6, seconds, asked } => {
            let Whom { network, account, application } = whom;
            let family = if ipv6 { "ipv6" } else { "ipv4" };
            let mut body = json!({ "network": network, "account": account, "count": count,
                "family": family });
            let fields = body.as_object_mut().into_iter();
            fields.for_each(|fields| {
                fields.extend(application.iter().map(|a| ("application".into(), json!(a))));
                fields.extend(seconds.iter().map(|s| ("seconds".into(), json!(s))));
            });
            let held: ShadowsView = client(&asked)?.post("/v1/shadows", &body)?;
            list(&held.shadows, &asked, out)
        }
        Shadows::Extend { address, network, seconds, asked } => {
            let body = json!({ "seconds": seconds });
            let fields = body.as_object().cloned().unwrap_or_default();
            let view: ShadowView =
                client(&asked)?.patch(&place(address, network.as_deref()), &fields)?;
            show(&view, &asked, out)
        }
        Shadows::Release { address, network, asked } => {
            let path = place(address, network.as_deref());
            let was: ShadowView = client(&asked)?.delete_shown(&path)?;
            match asked.json {
                true => out.json(&was),
                false => Ok(writeln!(out, "{address} is free")?),
            }
        }
        Shadows::Tally { account, asked } => {
            let path = format!("/v1/accounts/{}/shadows", escape(&account));
            let found: Vec<TallyView> = client(&asked)?.get(&path)?;
            tallies(&found, &asked, out)
        }
    }
}

fn available(whom: &Whom, ipv6: bool) -> String {
    let application = whom.application.as_deref();
    let application = application.map_or(String::new(), |a| format!("&application={}", escape(a)));
    format!(
        "/v1/available_shadow_address?network={}&account={}{application}&family={}",
        escape(&whom.network),
        escape(&whom.account),
        if ipv6 { "ipv6" } else { "ipv4" }
    )
}

fn place(address: Resource, network: Option<&str>) -> String {
    let network = network.map_or(String::new(), |name| format!("?network={}", escape(name)));
    format!("/v1/shadows/{}{network}", escape(&address.to_string()))
}

fn list(found: &[ShadowView], asked: &Asked, out: &mut Output) -> Result<(), Failure> {
    let header = ["ADDRESS", "NETWORK", "ACCOUNT", "APPLICATION", "STATE", "BY", "UNTIL"];
    let cells = |of: &ShadowView| {
        let application = of.application.clone().unwrap_or_default();
        let (address, network, account) =
            (of.address.clone(), of.network.clone(), of.account.clone());
        let (state, by, until) = (of.state.clone(), of.by.clone(), of.until.clone());
        vec![address, network, account, application, state, by, until]
    };
    table(found, &header, cells, asked, out)
}

fn predictions(found: &[PredictionView], asked: &Asked, out: &mut Output) -> Result<(), Failure> {
    let header =
        ["NETWORK", "ACCOUNT", "APPLICATION", "BY", "COUNT", "WANTED", "READY", "READY6", "UNTIL"];
    let cells = |of: &PredictionView| {
        let application = of.application.clone().unwrap_or_default();
        let mut cells = vec![of.network.clone(), of.account.clone(), application, of.by.clone()];
        cells.extend([of.count, of.wanted].map(|n| n.to_string()));
        cells.extend([of.ready, of.ready6].map(|n| n.to_string()));
        cells.push(of.until.clone());
        cells
    };
    table(found, &header, cells, asked, out)
}

fn tallies(found: &[TallyView], asked: &Asked, out: &mut Output) -> Result<(), Failure> {
    let header = ["APPLICATION", "CREATES", "HITS", "UNREADY", "MISSES", "HELD", "AGED", "YIELDED"];
    let cells = |of: &TallyView| {
        let application = of.application.clone().unwrap_or_default();
        let figures = [of.creates, of.hits, of.unready, of.misses, of.held, of.aged, of.yielded];
        std::iter::once(application).chain(figures.map(|n| n.to_string())).collect()
    };
    table(found, &header, cells, asked, out)
}

fn table<V: serde::Serialize>(
    found: &[V],
    header: &[&str],
    cells: impl Fn(&V) -> Vec<String>,
    asked: &Asked,
    out: &mut Output,
) -> Result<(), Failure> {
    if asked.json {
        let found: Value = serde_json::to_value(found).unwrap_or_default();
        return out.json(&found);
    }
    let mut table = Table::new(header);
    for of in found {
        let cells = cells(of);
        row(&mut table, &cells.iter().map(|cell| Some(cell.as_str())).collect::<Vec<_>>());
    }
    let colour = out.colour();
    Ok(table.write(out, colour)?)
}
