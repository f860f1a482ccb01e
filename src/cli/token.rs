//! `foreshadow token`.

use std::io::Write;

use crate::api::accounts::AccountView;
use crate::api::client::{Client, ClientError, escape};
use crate::api::command::Refusal;
use crate::api::view::{NewTokenView, RoleView, RotateRequest, TokenRequest, TokensView};

use super::args::Token;
use super::exit::{Exit, Failure};
use super::output::Output;
use super::source;
use super::table::{Table, Tone};

/// Does what was asked of the tokens.
pub(super) fn token(command: &Token, out: &mut Output) -> Result<(), Failure> {
    match command {
        Token::Add { name, role, accounts, days, target } => {
            let request = TokenRequest {
                name: name.clone(),
                role: role_named(role)?,
                accounts: accounts.clone(),
                lifetime_s: days.map(|days| days.saturating_mul(24 * 3600)),
            };
            let mut client = source::running(target)?;
            let made: NewTokenView = client.post("/v1/tokens", &request)?;
            writeln!(out, "{}", made.secret)?;
            warn_of_unknown(&mut client, accounts, out);
            Ok(())
        }
        Token::List { json, target } => list(&mut source::running(target)?, *json, out),
        Token::Rotate { name, overlap, target } => {
            let request = RotateRequest { overlap_s: *overlap };
            let path = format!("/v1/tokens/{}/rotate", escape(name));
            let made: NewTokenView = source::running(target)?.post(&path, &request)?;
            Ok(writeln!(out, "{}", made.secret)?)
        }
        Token::Revoke { name, target } => {
            source::running(target)?.delete(&format!("/v1/tokens/{}", escape(name)))?;
            Ok(writeln!(out, "the token {name} is not believed any more")?)
        }
    }
}

/// A token may be made before its account; or that is misspelt. It is made, whatever comes of this.
fn warn_of_unknown(client: &mut Client, accounts: &[String], out: &mut Output) {
    for name in accounts {
        let path = format!("/v1/accounts/{}", escape(name));
        if let Err(ClientError::Refused(Refusal::NotFound(_))) = client.get::<AccountView>(&path) {
            out.note(format!(
                "warning: no account is called \"{name}\": the token sees nothing of it until \
                 there is one"
            ));
        }
    }
}

fn role_named(name: &str) -> Result<RoleView, Failure> {
    serde_json::from_value(name.into()).map_err(|error| Failure::says(Exit::Usage, error))
}

fn list(client: &mut Client, json: bool, out: &mut Output) -> Result<(), Failure> {
    let (mut tokens, mut next) = (Vec::new(), Some(String::new()));
    while let Some(cursor) = next {
        let from = if cursor.is_empty() { cursor } else { format!("&cursor={cursor}") };
        let page: TokensView = client.get(&format!("/v1/tokens?limit=1000{from}"))?;
        tokens.extend(page.tokens);
        next = page.next;
    }
    if json {
        return out.json(&tokens);
    }
    let mut table = Table::new(&["NAME", "ROLE", "ACCOUNTS", "CREATED", "EXPIRES"]);
    for token in &tokens {
        let role = format!("{:?}", token.role).to_lowercase();
        let accounts = match token.accounts.as_slice() {
            [] => "all".to_owned(),
            some => some.join(","),
        };
        let created = token.created.as_deref().unwrap_or("configuration");
        let expires = token.expires.as_deref().unwrap_or("never");
        let cells = [&token.name, &role, &accounts, created, expires];
        table.row(&cells.map(|cell| (cell, Tone::Plain)));
    }
    let colour = out.colour();
    Ok(table.write(out, colour)?)
}
