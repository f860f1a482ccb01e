//! `foreshadow accounts` and `foreshadow applications`.

use std::io::Write;

use serde_json::json;

use crate::api::accounts::{
    AccountView, ApplicationView, LevelView, TermsView, TierView, UsageView,
};
use crate::api::client::{Guard, escape};

use super::args_directory::{AccountWords, Accounts, Applications, Asked, Setting, TermsWords};
use super::entries::{all, client, read, row, show};
use super::exit::Failure;
use super::output::{Output, Safe};
use super::table::Table;

/// Does what was asked of the accounts.
pub(super) fn accounts(command: Accounts, out: &mut Output) -> Result<(), Failure> {
    match command {
        Accounts::List { asked } => {
            let found: Vec<AccountView> =
                all(&mut client(&asked)?, "/v1/accounts", "accounts", &[])?;
            list(&found, &asked, out)
        }
        Accounts::Show { name, asked } => {
            let mut client = client(&asked)?;
            let found: AccountView = client.get(&path(&name))?;
            let usage: UsageView = client.get(&format!("{}/usage", path(&name)))?;
            show_with(&found, &usage, &asked, out)
        }
        Accounts::Add { name, of } => {
            let AccountWords { terms, networks, pools, asked } = of;
            let terms = applied(&terms, TermsView::default())?;
            let some = |list: Vec<String>| changed(list, Vec::new());
            let body = json!({ "terms": terms, "networks": some(networks), "pools": some(pools) });
            let made: AccountView = client(&asked)?.put(&path(&name), &body, &Guard::IsNew)?;
            show(&made, &asked, out)
        }
        Accounts::Change { name, of } => {
            let AccountWords { terms, networks, pools, asked } = of;
            let mut client = client(&asked)?;
            let (now, guard): (AccountView, Guard) = client.get_guarded(&path(&name))?;
            let terms = applied(&terms, now.terms)?;
            let (networks, pools) = (changed(networks, now.networks), changed(pools, now.pools));
            let body = json!({ "terms": terms, "networks": networks, "pools": pools });
            let after: AccountView = client.put(&path(&name), &body, &guard)?;
            show(&after, &asked, out)
        }
        Accounts::Remove { name, asked } => {
            let was: AccountView = client(&asked)?.delete_shown(&path(&name))?;
            match asked.json {
                true => out.json(&was),
                false => Ok(writeln!(out, "account {} is removed", Safe(&was.name))?),
            }
        }
    }
}

/// Does what was asked of the applications.
pub(super) fn applications(command: Applications, out: &mut Output) -> Result<(), Failure> {
    match command {
        Applications::List { account, asked } => {
            let path = format!("{}/applications", path(&account));
            let found: Vec<ApplicationView> =
                all(&mut client(&asked)?, &path, "applications", &[])?;
            list_applications(&found, &asked, out)
        }
        Applications::Show { account, name, asked } => {
            let (mut client, path) = (client(&asked)?, path_in(&account, &name));
            let found: ApplicationView = client.get(&path)?;
            let usage: UsageView = client.get(&format!("{path}/usage"))?;
            show_with(&found, &usage, &asked, out)
        }
        Applications::Add { account, name, terms, asked } => {
            let body = json!({ "terms": applied(&terms, TermsView::default())? });
            let path = path_in(&account, &name);
            let made: ApplicationView = client(&asked)?.put(&path, &body, &Guard::IsNew)?;
            show(&made, &asked, out)
        }
        Applications::Change { account, name, terms, asked } => {
            let (mut client, path) = (client(&asked)?, path_in(&account, &name));
            let (now, guard): (ApplicationView, Guard) = client.get_guarded(&path)?;
            let body = json!({ "terms": applied(&terms, now.terms)? });
            let after: ApplicationView = client.put(&path, &body, &guard)?;
            show(&after, &asked, out)
        }
        Applications::Remove { account, name, asked } => {
            let was: ApplicationView = client(&asked)?.delete_shown(&path_in(&account, &name))?;
            match asked.json {
                true => out.json(&was),
                false => {
                    let (account, name) = (Safe(&was.account), Safe(&was.name));
                    Ok(writeln!(out, "application {account}/{name} is removed")?)
                }
            }
        }
    }
}

fn path(name: &str) -> String {
    format!("/v1/accounts/{}", escape(name))
}

fn path_in(account: &str, name: &str) -> String {
    format!("{}/applications/{}", path(account), escape(name))
}

/// What there is, and how much of it is used, as one.
fn show_with(
    of: &impl serde::Serialize,
    usage: &UsageView,
    asked: &Asked,
    out: &mut Output,
) -> Result<(), Failure> {
    let mut view = json!(of);
    view["usage"] = json!(usage);
    show(&view, asked, out)
}

/// A list as it was, or as it was given; `none` is an empty one.
fn changed(given: Vec<String>, was: Vec<String>) -> Vec<String> {
    match given.as_slice() {
        [] => was,
        [none] if none == "none" => Vec::new(),
        _ => given,
    }
}

fn applied(words: &TermsWords, was: TermsView) -> Result<TermsView, Failure> {
    fn now<T: Copy>(given: &Option<Setting<T>>, was: Option<T>) -> Option<T> {
        match given {
            Some(Setting::Some(value)) => Some(*value),
            Some(Setting::None) => None,
            None => was,
        }
    }
    let level = |name: &str| read::<LevelView>(name.into()).map(Some);
    let rate = now(&words.requests_per_s, was.requests_per_s);
    Ok(TermsView {
        level: match words.level.as_deref() {
            Some("none") => None,
            Some(name) => level(name)?,
            None => was.level,
        },
        priority: now(&words.priority, was.priority),
        max_addresses: now(&words.max_addresses, was.max_addresses),
        max_prefixes: now(&words.max_prefixes, was.max_prefixes),
        max_standbys: now(&words.max_standbys, was.max_standbys),
        requests_per_s: rate,
        // A burst goes with its rate.
        requests_burst: match (&words.requests_burst, &words.requests_per_s) {
            (None, Some(_)) => None,
            (given, _) => now(given, was.requests_burst),
        },
        hold_min_s: now(&words.hold_min, was.hold_min_s),
        hold_max_s: now(&words.hold_max, was.hold_max_s),
        shadow_ready: now(&words.shadow_ready, was.shadow_ready),
        shadow_max: now(&words.shadow_max, was.shadow_max),
        shadow_quantile: now(&words.shadow_quantile, was.shadow_quantile),
        shadow_contiguous: now(&words.shadow_contiguous, was.shadow_contiguous),
        shadow_sticky: now(&words.shadow_sticky, was.shadow_sticky),
        tier: tiers(&words.tier, was.tier)?,
    })
}

fn tiers(given: &[String], was: Option<Vec<TierView>>) -> Result<Option<Vec<TierView>>, Failure> {
    match given {
        [] => Ok(was),
        [none] if none == "none" => Ok(None),
        _ => given.iter().map(|name| read(name.clone().into())).collect::<Result<_, _>>().map(Some),
    }
}

fn list(found: &[AccountView], asked: &Asked, out: &mut Output) -> Result<(), Failure> {
    if asked.json {
        return out.json(&found);
    }
    let header = [
        "NAME",
        "LEVEL",
        "PRIORITY",
        "ADDRESSES",
        "PREFIXES",
        "REQUESTS/S",
        "APPLICATIONS",
        "FROM",
    ];
    let mut table = Table::new(&header);
    for of in found {
        let [level, priority, addresses, prefixes, rate] = terms_text(&of.terms);
        let applications = of.applications.to_string();
        let cells = [&of.name, &level, &priority, &addresses, &prefixes, &rate, &applications];
        let mut cells: Vec<Option<&str>> = cells.iter().map(|cell| Some(cell.as_str())).collect();
        cells.push(Some(from(of.configured)));
        row(&mut table, &cells);
    }
    let colour = out.colour();
    Ok(table.write(out, colour)?)
}

fn list_applications(
    found: &[ApplicationView],
    asked: &Asked,
    out: &mut Output,
) -> Result<(), Failure> {
    if asked.json {
        return out.json(&found);
    }
    let header =
        ["ACCOUNT", "NAME", "LEVEL", "PRIORITY", "ADDRESSES", "PREFIXES", "REQUESTS/S", "FROM"];
    let mut table = Table::new(&header);
    for of in found {
        let [level, priority, addresses, prefixes, rate] = terms_text(&of.terms);
        let cells = [&of.account, &of.name, &level, &priority, &addresses, &prefixes, &rate];
        let mut cells: Vec<Option<&str>> = cells.iter().map(|cell| Some(cell.as_str())).collect();
        cells.push(Some(from(of.configured)));
        row(&mut table, &cells);
    }
    let colour = out.colour();
    Ok(table.write(out, colour)?)
}

fn from(configured: bool) -> &'static str {
    if configured { "configuration" } else { "run time" }
}

fn terms_text(terms: &TermsView) -> [String; 5] {
    let number = |number: Option<u64>| number.map_or(String::new(), |number| number.to_string());
    let level = terms.level.map(|level| format!("{level:?}").to_lowercase());
    [
        level.unwrap_or_default(),
        number(terms.priority.map(Into::into)),
        number(terms.max_addresses),
        number(terms.max_prefixes),
        number(terms.requests_per_s.map(Into::into)),
    ]
}
