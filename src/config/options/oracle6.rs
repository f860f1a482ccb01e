//! Every DHCPv6 option in the form that the reference shows, and what dhcproto makes of the bytes.

use dhcproto::v6::{DhcpOption, OptionCode};
use dhcproto::{Decodable, Decoder, Encodable};

use crate::config::check;

use super::oracle::sample;
use super::registry6::DHCP6;
use super::types::Unit;

/// Bytes of each instance of the option `key = value` at the top level.
fn encoded(key: &str, value: &str, code: u16) -> Vec<Vec<u8>> {
    let text = format!("options6 = {{ {key} = {value} }}");
    let loaded = check(&text, "oracle").unwrap_or_else(|faults| panic!("{}", faults.render(false)));
    let options = loaded.policy.settings.options6.get(code);
    assert!(!options.is_empty(), "{key} is not set");
    options.iter().map(|option| option.data.to_vec()).collect()
}

#[test]
fn every_option_is_taken_in_the_form_of_the_reference() {
    for row in DHCP6.iter().filter(|row| !matches!(row.ty.unit, Unit::Refused(_))) {
        let by_name = encoded(row.name, &sample(row), row.code);
        assert_eq!(by_name, encoded(&row.code.to_string(), &sample(row), row.code));
    }
}

#[test]
fn every_refused_option_is_refused_by_name_and_code() {
    for row in DHCP6.iter().filter(|row| matches!(row.ty.unit, Unit::Refused(_))) {
        for key in [row.name, &row.code.to_string()] {
            let text = format!("options6 = {{ {key} = {{ hex = \"00\" }} }}");
            assert!(check(&text, "oracle").is_err(), "{key}");
        }
    }
}

#[test]
fn names_of_dhcproto_have_the_same_codes() {
    for (name, code) in [
        ("dns-servers", OptionCode::DomainNameServers),
        ("domain-search", OptionCode::DomainSearchList),
        ("sntp-servers", OptionCode::SntpServers),
        ("information-refresh-time", OptionCode::InformationRefreshTime),
        ("ntp-server", OptionCode::NtpServer),
        ("bootfile-url", OptionCode::OptBootfileUrl),
        ("aftr-name", OptionCode::AftrName),
        ("pd-exclude", OptionCode::PdExclude),
        ("krb-kdc", OptionCode::KrbKdc),
        ("client-linklayer-addr", OptionCode::ClientLinklayerAddr),
        ("sol-max-rt", OptionCode::SolMaxRt),
        ("inf-max-rt", OptionCode::InfMaxRt),
        ("s46-cont-lw", OptionCode::S46ContLw),
        ("captive-portal", OptionCode::DhcpCaptivePortal),
        ("s46-priority", OptionCode::S46Priority),
        ("f-state-expiration-time", OptionCode::FStateExpirationTime),
        ("relay-port", OptionCode::RelayPort),
        ("ipv6-address-andsf", OptionCode::Ipv6AddressANDSF),
    ] {
        let row = DHCP6.iter().find(|row| row.name == name).expect("the option is known");
        assert_eq!(row.code, u16::from(code), "{name}");
    }
}

#[test]
fn dhcproto_writes_the_same_bytes() {
    let addrs = vec!["2001:db8::1".parse().unwrap(), "2001:db8::2".parse().unwrap()];
    let two = "[\"2001:db8::1\", \"2001:db8::2\"]";
    for (name, value, want) in [
        ("dns-servers", two, DhcpOption::DomainNameServers(addrs)),
        ("information-refresh-time", "\"20m\"", DhcpOption::InformationRefreshTime(1200)),
    ] {
        let code = OptionCode::from(&want);
        let [data] = &encoded(name, value, u16::from(code))[..] else { panic!("{name} repeats") };
        let bytes = want.to_vec().expect("dhcproto encodes it");
        assert_eq!(bytes.get(4..), Some(&**data), "{name}");
    }
}

#[test]
fn dhcproto_reads_the_same_names() {
    let data = encoded("domain-search", "[\"a.example.net\", \"b.example.net\"]", 24).concat();
    let bytes = [&[0, 24, 0, data.len() as u8][..], &data].concat();
    let option = DhcpOption::decode(&mut Decoder::new(&bytes)).expect("dhcproto decodes it");
    let DhcpOption::DomainSearchList(names) = option else { panic!("no search list") };
    let names: Vec<String> = names.iter().map(ToString::to_string).collect();
    assert_eq!(names, ["a.example.net.", "b.example.net."]);
}

#[test]
fn special_values_are_as_their_rfcs_draw_them() {
    let addr = "2001:db8::1".parse::<std::net::Ipv6Addr>().unwrap().octets();
    let group = "ff05::101".parse::<std::net::Ipv6Addr>().unwrap().octets();
    let cases: [(&str, u16, &str, Vec<Vec<u8>>); 8] = [
        // RFC 9915 s10: names stand uncompressed.
        ("domain-search", 24, "[\"a.b\", \"c.b\"]", vec![b"\x01a\x01b\0\x01c\x01b\0".to_vec()]),
        ("sol-max-rt", 82, "7200", vec![vec![0, 0, 0x1c, 0x20]]),
        (
            "ntp-server",
            56,
            "[\"2001:db8::1\", \"ff05::101\", \"n.a\"]",
            vec![
                [&[0, 1, 0, 16][..], &addr].concat(),
                [&[0, 2, 0, 16][..], &group].concat(),
                b"\0\x03\0\x05\x01n\x01a\0".to_vec(),
            ],
        ),
        ("bootfile-param", 60, "[\"a\", \"bc\"]", vec![b"\0\x01a\0\x02bc".to_vec()]),
        (
            "vendor-class",
            16,
            "{ enterprises = { 343 = [\"HTTPClient\"] } }",
            vec![b"\0\0\x01\x57\0\x0aHTTPClient".to_vec()],
        ),
        (
            "vendor-opts",
            17,
            "{ enterprises = { 9 = { \"258\" = { hex = \"ff\" } }, 10 = { \"1\" = { hex = \"\" } } } }",
            vec![vec![0, 0, 0, 9, 1, 2, 0, 1, 0xff], vec![0, 0, 0, 10, 0, 1, 0, 0]],
        ),
        (
            "s46-cont-mapt",
            95,
            "{ suboptions = { \"91\" = { hex = \"40\" } } }",
            vec![vec![0, 91, 0, 1, 0x40]],
        ),
        ("\"65535\"", 65_535, "{ value = 7, type = \"u16\" }", vec![vec![0, 7]]),
    ];
    for (name, code, value, want) in cases {
        assert_eq!(encoded(name, value, code), want, "{name} {value}");
    }
}
