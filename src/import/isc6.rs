//! dhcpd6.leases of ISC DHCP: `ia-na` and `ia-pd` declarations, each with what its client has.
//!
//! A declaration is named by the IAID and the DUID in one string; the IAID is in the byte order
//! that `authoring-byte-order` says. The last declaration of an association counts whole: what an
//! earlier one had and it has not is no longer the client's.

use std::collections::HashMap;

use crate::base::{ClientKey, Prefix6, Resource, Timestamp};

use super::isc::{Statement, Token, Tokens, bond, moment};
use super::{Bond, DUID_BYTES, Import, Imported, shown};

/// What was read of identity associations.
#[derive(Debug, Default)]
pub(super) struct Associations {
    order: Option<Order>,
    latest: HashMap<ClientKey, Vec<Resource>>,
}

/// How IAIDs are written.
#[derive(Clone, Copy, Debug)]
enum Order {
    Little,
    Big,
}

/// An address or prefix within a declaration.
#[derive(Default)]
struct Draft {
    bond: Option<Bond>,
    ends: Option<Timestamp>,
    fault: Option<String>,
}

impl Associations {
    /// `authoring-byte-order` says this.
    pub(super) fn set_order(&mut self, order: &str) -> Result<(), String> {
        self.order = Some(match order {
            "little-endian" => Order::Little,
            "big-endian" => Order::Big,
            other => return Err(format!("byte order is `{}`", shown(other))),
        });
        Ok(())
    }

    /// Reads the body of a declaration, up to its closing brace.
    pub(super) fn read(
        &mut self,
        kind: &str,
        id: &Token<'_>,
        line: u64,
        tokens: &mut Tokens<'_>,
        import: &mut Import,
    ) {
        let key = match self.key(kind, id) {
            Ok(key) => key,
            Err(why) => {
                tokens.skip_block();
                return import.skip(line, why);
            }
        };
        let mut held = Vec::new();
        loop {
            match tokens.statement() {
                None => return import.skip(line, "the file ends within this declaration"),
                Some(statement) if statement.closes => break,
                Some(statement) if statement.block => {
                    let line = statement.line;
                    match entry(kind, statement, tokens, &key) {
                        Ok(Some(lease)) => held.push(lease),
                        Ok(None) => {}
                        Err(why) => import.skip(line, why),
                    }
                }
                Some(_) => {}
            }
        }
        self.replace(key, held, import);
    }

    fn key(&self, kind: &str, id: &Token<'_>) -> Result<ClientKey, String> {
        if kind == "ia-ta" {
            return Err("temporary addresses: none are served".into());
        }
        let id = id.bytes().unwrap_or_default();
        let (iaid, duid) = id
            .split_first_chunk::<4>()
            .filter(|(_, duid)| DUID_BYTES.contains(&duid.len()))
            .ok_or_else(|| format!("{kind} of {} bytes, want an IAID and a DUID", id.len()))?;
        let iaid = match self.order {
            Some(Order::Little) => u32::from_le_bytes(*iaid),
            Some(Order::Big) => u32::from_be_bytes(*iaid),
            None => {
                return Err("no `authoring-byte-order` above it: put `authoring-byte-order \
                            little-endian;` there if dhcpd ran on such a machine"
                    .into());
            }
        };
        Ok(if kind == "ia-pd" { ClientKey::ia_pd(duid, iaid) } else { ClientKey::ia(duid, iaid) })
    }

    fn replace(&mut self, key: ClientKey, held: Vec<Imported>, import: &mut Import) {
        let now = held.iter().map(|lease| lease.resource).collect();
        for old in self.latest.insert(key.clone(), now).unwrap_or_default() {
            let own = import.leases.get(&old).is_some_and(|l| l.client.as_ref() == Some(&key));
            if own {
                import.leases.remove(&old);
            }
        }
        held.into_iter().for_each(|lease| import.add(lease));
    }
}

/// A block within a declaration; `None` if it is about something else.
fn entry(
    kind: &str,
    statement: Statement<'_>,
    tokens: &mut Tokens<'_>,
    key: &ClientKey,
) -> Result<Option<Imported>, String> {
    let resource = match statement.words.as_slice() {
        [Token::Word("iaaddr"), Token::Word(addr)] if kind == "ia-na" => address(addr),
        [Token::Word("iaprefix"), Token::Word(prefix)] if kind == "ia-pd" => a_prefix(prefix),
        words => {
            tokens.skip_block();
            let what = words.first().map_or("", |word| word.text());
            return match what {
                "iaaddr" | "iaprefix" => Err(format!("`{what}` makes no sense in `{kind}`")),
                _ => Ok(None),
            };
        }
    };
    let draft = Draft::read(tokens)?;
    let resource = resource?;
    if let Some(fault) = draft.fault {
        return Err(fault);
    }
    let bond = draft.bond.ok_or_else(|| format!("{resource} has no binding state"))?;
    let until = draft.ends.ok_or_else(|| format!("{resource} has no end"))?;
    if bond == Bond::Declined {
        // dhcpd keeps it out of use for ever. Here the link is asked before an address is given.
        return Err(format!("{resource} was declined by its client: nobody has it"));
    }
    Ok(Some(Imported {
        line: statement.line,
        resource,
        client: Some(key.clone()),
        hw: None,
        hostname: None,
        since: None,
        until,
        bond,
    }))
}

fn address(text: &str) -> Result<Resource, String> {
    let addr: Result<std::net::Ipv6Addr, _> = text.parse();
    addr.map(Resource::V6).map_err(|_| format!("`{}` is no IPv6 address", shown(text)))
}

fn a_prefix(text: &str) -> Result<Resource, String> {
    let prefix: Result<Prefix6, ()> = text.parse();
    prefix.map(Resource::from).map_err(|()| format!("`{}` is no IPv6 prefix", shown(text)))
}

impl Draft {
    fn read(tokens: &mut Tokens<'_>) -> Result<Draft, String> {
        let mut draft = Draft::default();
        loop {
            match tokens.statement() {
                None => return Err("the file ends within this lease".into()),
                Some(statement) if statement.closes => return Ok(draft),
                Some(statement) if statement.block => tokens.skip_block(),
                Some(statement) => {
                    if let Err(why) = draft.take(&statement.words) {
                        draft.fault.get_or_insert(why);
                    }
                }
            }
        }
    }

    fn take(&mut self, words: &[Token<'_>]) -> Result<(), String> {
        match words {
            [Token::Word("binding"), Token::Word("state"), Token::Word(state)] => {
                self.bond = Some(bond(state)?);
            }
            [Token::Word("ends"), when @ ..] => self.ends = Some(moment(when)?),
            _ => {}
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::isc::parse;
    use super::super::tests::{FIXTURES, lines};
    use super::*;

    #[test]
    fn a_real_file_is_read_but_for_temporary_and_declined_addresses() {
        let import = parse(FIXTURES[4].1);
        assert_eq!(
            lines(&import),
            [
                "2001:db8:77:1::1329 ia:00:00:00:01:00:01:00:01:32:95:fa:30:52:54:00:77:00:04 - - leased 1795378112",
                "2001:db8:77:1::135a ia:00:77:00:01:00:03:00:01:52:54:00:77:00:01 - - leased 1795378109",
                "2001:db8:77:1::156d ia:00:77:00:03:00:03:00:01:52:54:00:77:00:03 - - leased 1795378112",
                "2001:db8:77:1::1761 ia:00:77:00:02:00:01:00:01:32:95:fa:2d:52:54:00:77:00:02 - - leased 1795378110",
                "2001:db8:77:1::1aae ia:00:77:00:05:00:03:00:01:52:54:00:77:00:05 - - released 1795378120",
                "2001:db8:80ff:fc00::/56 ia-pd:00:77:00:05:00:03:00:01:52:54:00:77:00:05 - - released 1795378120",
                "2001:db8:80ff:fe00::/56 ia-pd:00:00:12:34:00:01:00:01:32:95:fa:30:52:54:00:77:00:04 - - leased 1795378112",
                "2001:db8:80ff:ff00::/56 ia-pd:00:77:00:01:00:03:00:01:52:54:00:77:00:01 - - leased 1795378109",
            ]
        );
        let unmapped: Vec<_> = import.unmapped.iter().map(|u| (u.line, &*u.why)).collect();
        assert_eq!(
            unmapped,
            [
                (49, "temporary addresses: none are served"),
                (131, "2001:db8:77:1::1480 was declined by its client: nobody has it"),
                (151, "2001:db8:77:1::1253 was declined by its client: nobody has it"),
                (171, "2001:db8:77:1::1416 was declined by its client: nobody has it"),
            ]
        );
    }

    const ID: &str = r#""\001\000\000\000\000\003\000\001RT""#;

    fn read(declarations: &str) -> (Vec<String>, Vec<String>) {
        let import = parse(&format!("authoring-byte-order little-endian;\n{declarations}"));
        let told = import.unmapped.iter().map(|u| format!("{}: {}", u.line, u.why)).collect();
        (import.leases.keys().map(Resource::to_string).collect(), told)
    }

    fn one(kind: &str, body: &str) -> String {
        format!("{kind} {ID} {{ {body} }}\n")
    }

    fn addr(addr: &str, state: &str) -> String {
        format!("iaaddr {addr} {{ binding state {state}; ends never; }}")
    }

    /// The IAID is a number, and the file says in which order its bytes are.
    #[test]
    fn iaids_are_in_the_order_that_the_file_says() {
        let text = one("ia-na", &addr("fd00::1", "active"));
        let iaid = |order: &str| {
            let import = parse(&format!("{order}\n{text}"));
            lines(&import).first().map(|line| line.split(' ').nth(1).unwrap()[..14].to_owned())
        };
        let order = |order| iaid(&format!("authoring-byte-order {order};"));
        assert_eq!(order("little-endian").as_deref(), Some("ia:00:00:00:01"));
        assert_eq!(order("big-endian").as_deref(), Some("ia:01:00:00:00"));
        assert_eq!((order("odd"), iaid("")), (None, None));
    }

    #[test]
    fn identifiers_in_hexadecimal_are_the_same() {
        let (held, told) = read(
            &one("ia-na", &addr("fd00::1", "active")).replace(ID, "01:00:00:00:00:03:00:01:52:54"),
        );
        assert_eq!((held.len(), told.len()), (1, 0));
    }

    #[test]
    fn the_last_declaration_of_an_association_counts_whole() {
        let both = addr("fd00::1", "active") + &addr("fd00::2", "active");
        let text = one("ia-na", &both) + &one("ia-na", &addr("fd00::2", "expired"));
        assert_eq!(read(&text), (vec!["fd00::2".into()], vec![]));
        // Another client may have it by then.
        let other = one("ia-na", &addr("fd00::1", "active")).replace("RT", "RU");
        let text = one("ia-na", &both) + &other + &one("ia-na", "");
        assert_eq!(read(&text), (vec!["fd00::1".into()], vec![]));
    }

    #[test]
    fn what_does_not_fit_is_named_by_line() {
        let text = one("ia-na", &addr("10.0.0.1", "active"))
            + &one("ia-pd", &addr("fd00::1", "active"))
            + &one("ia-pd", "iaprefix fd00::1/56 { binding state active; ends never; }")
            + &one("ia-na", &addr("fd00::1", "odd"))
            + &one("ia-na", "iaaddr fd00::1 { binding state active; }")
            + &one("ia-na", "iaaddr fd00::1 { ends never; }")
            + &one("ia-ta", &addr("fd00::1", "active"))
            + &one("ia-na", &addr("fd00::1", "active")).replace(ID, "\"abc\"")
            + "ia-na \"x\";\nserver-duid \"\";\nia-na "
            + ID
            + "{ iaaddr fd00::1 { ends";
        let (held, told) = read(&text);
        assert_eq!(held, [""; 0]);
        let at: Vec<_> = told.iter().map(|t| t.split(':').next().unwrap()).collect();
        assert_eq!(
            at,
            ["2", "3", "4", "5", "6", "7", "8", "9", "10", "11", "12", "12"],
            "{told:?}"
        );
    }
}
