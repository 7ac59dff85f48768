use http::HeaderValue;
use proptest::prelude::*;

use super::*;

fn proxies() -> TrustedProxies {
    TrustedProxies::new(["10.0.0.0/8".parse().unwrap(), "fd00::/8".parse().unwrap()])
}

fn address(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn headers<'a>(name: &HeaderName, lines: impl IntoIterator<Item = &'a str>) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for line in lines {
        headers.append(name, line.parse().unwrap());
    }
    headers
}

fn client(peer: &str, lines: &[&str]) -> String {
    let headers = headers(&X_FORWARDED_FOR, lines.iter().copied());
    proxies().client_of(address(peer), &headers).to_string()
}

fn client_by_forwarded(peer: &str, lines: &[&str]) -> String {
    let headers = headers(&FORWARDED, lines.iter().copied());
    let proxies = proxies().header(ForwardedHeader::Forwarded);
    proxies.client_of(address(peer), &headers).to_string()
}

#[test]
fn a_stranger_can_claim_nothing() {
    assert_eq!(client("203.0.113.9", &["198.51.100.1"]), "203.0.113.9");
    assert_eq!(client("203.0.113.9", &["10.0.0.1, 10.0.0.2"]), "203.0.113.9");
    assert_eq!(client("::ffff:203.0.113.9", &[]), "203.0.113.9");
    assert_eq!(
        client_by_forwarded("203.0.113.9", &["for=198.51.100.1"]),
        "203.0.113.9"
    );
}

#[test]
fn a_trusted_proxy_vouches_for_the_address_to_its_left() {
    assert_eq!(client("10.0.0.1", &["198.51.100.1"]), "198.51.100.1");
    assert_eq!(
        client("10.0.0.1", &["1.1.1.1, 198.51.100.1, 10.0.0.7"]),
        "198.51.100.1"
    );
    assert_eq!(
        client("10.0.0.1", &["1.1.1.1", "198.51.100.1", "10.0.0.7"]),
        "198.51.100.1"
    );
    assert_eq!(client("fd00::1", &["[2001:db8::5]:443"]), "2001:db8::5");
    assert_eq!(client("10.0.0.1", &["198.51.100.1:8080"]), "198.51.100.1");
    assert_eq!(client("::ffff:10.0.0.1", &["2001:db8::5"]), "2001:db8::5");
}

#[test]
fn without_a_sound_word_the_proxy_is_the_client() {
    assert_eq!(client("10.0.0.1", &[]), "10.0.0.1");
    for unsound in [
        "unknown",
        "",
        "1.2.3",
        "1.2.3.4:",
        "1.2.3.4:http",
        "1.2.3.4:123456",
        "[::1",
        "[::1]x",
        "[1.2.3.4]",
        "1:2:3:4:5:6:7:8:443",
        "fe80::1%eth0",
        "\"1.2.3.4\"",
    ] {
        assert_eq!(client("10.0.0.1", &[unsound]), "10.0.0.1", "{unsound:?}");
        let more = format!("6.6.6.6, {unsound}, 10.0.0.9");
        assert_eq!(client("10.0.0.1", &[&more]), "10.0.0.9", "{unsound:?}");
    }
}

#[test]
fn a_line_that_is_no_text_hides_nothing_to_its_right() {
    let mut headers = headers(&X_FORWARDED_FOR, ["6.6.6.6"]);
    headers.append(
        X_FORWARDED_FOR,
        HeaderValue::from_bytes(b"6.6.6.6, \xff").unwrap(),
    );
    headers.append(X_FORWARDED_FOR, "203.0.113.9".parse().unwrap());
    let client = |headers: &HeaderMap| proxies().client_of(address("10.0.0.1"), headers).to_string();
    assert_eq!(client(&headers), "203.0.113.9");
    headers.append(X_FORWARDED_FOR, "10.0.0.2".parse().unwrap());
    assert_eq!(client(&headers), "203.0.113.9");
    headers.remove(X_FORWARDED_FOR);
    headers.append(
        X_FORWARDED_FOR,
        HeaderValue::from_bytes(b"6.6.6.6, \xff, 10.0.0.2").unwrap(),
    );
    assert_eq!(client(&headers), "10.0.0.2");
}

#[test]
fn the_examples_of_rfc_7239_are_understood() {
    for (element, expected) in [
        ("for=192.0.2.43", "192.0.2.43"),
        ("For=\"[2001:db8:cafe::17]:4711\"", "2001:db8:cafe::17"),
        ("for=192.0.2.60;proto=http;by=203.0.113.43", "192.0.2.60"),
        (
            "for=192.0.2.43, for=198.51.100.17;by=203.0.113.60;proto=http;host=example.com",
            "198.51.100.17",
        ),
        ("by=203.0.113.43 ; FOR = 192.0.2.60", "10.0.0.1"),
        ("for=\"192.0.2.43:47011\"", "192.0.2.43"),
        ("for=\"192.0.2.43:_hidden\"", "192.0.2.43"),
        ("for=\"_gazonk\"", "10.0.0.1"),
        ("for=_SEVKISEK", "10.0.0.1"),
        ("for=\"_mdn\", for=198.51.100.1", "198.51.100.1"),
        ("for=unknown", "10.0.0.1"),
        ("for=\"unknown:80\"", "10.0.0.1"),
    ] {
        assert_eq!(client_by_forwarded("10.0.0.1", &[element]), expected, "{element}");
    }
}

#[test]
fn commas_and_semicolons_in_quotes_separate_nothing() {
    let line = r#"for=6.6.6.6, host="a,b;for=7.7.7.7\",\\";for=198.51.100.1;by="_a,b""#;
    assert_eq!(client_by_forwarded("10.0.0.1", &[line]), "198.51.100.1");
    assert_eq!(
        client_by_forwarded("10.0.0.1", &[r#"for="198\.51.100.\1""#]),
        "198.51.100.1"
    );
}

#[test]
fn an_element_of_forwarded_that_is_not_sound_counts_for_nothing() {
    for unsound in [
        "",
        "for",
        "for=",
        "=1.2.3.4",
        "for=\"1.2.3.4",
        "for=1.2.3.4\"",
        "for=\"1.2.3.4\"5",
        "for=\"1.2.3.4\\",
        "for=1.2.3.4;for=1.2.3.4",
        "for=1.2.3.4;",
        "for=1.2.3.4;;proto=http",
        "for=1.2.3.4 proto=http",
        "f or=1.2.3.4",
        "proto=https;host=example.com",
        "1.2.3.4",
    ] {
        assert_eq!(
            client_by_forwarded("10.0.0.1", &[unsound]),
            "10.0.0.1",
            "{unsound:?}"
        );
        let more = format!("for=6.6.6.6, {unsound}, for=10.0.0.9");
        let client = client_by_forwarded("10.0.0.1", &[&more]);
        assert!(["10.0.0.9", "10.0.0.1"].contains(&client.as_str()), "{unsound:?}");
    }
}

#[test]
fn only_the_named_header_is_read() {
    let mut both = headers(&X_FORWARDED_FOR, ["198.51.100.1"]);
    both.append(FORWARDED, "for=198.51.100.2".parse().unwrap());
    let peer = address("10.0.0.1");
    let by = |header| proxies().header(header);
    assert_eq!(proxies().client_of(peer, &both), address("198.51.100.1"));
    assert_eq!(
        by(ForwardedHeader::Forwarded).client_of(peer, &both),
        address("198.51.100.2")
    );
    both.remove(FORWARDED);
    assert_eq!(by(ForwardedHeader::Forwarded).client_of(peer, &both), peer);
    both.remove(X_FORWARDED_FOR);
    both.append(FORWARDED, "for=198.51.100.2".parse().unwrap());
    assert_eq!(by(ForwardedHeader::XForwardedFor).client_of(peer, &both), peer);
}

#[test]
fn an_ipv6_client_holds_its_first_64_bits() {
    let network = |text: &str| network_of(address(text)).to_string();
    assert_eq!(network("2001:db8:1:2:3:4:5:6"), "2001:db8:1:2::");
    assert_eq!(network("203.0.113.9"), "203.0.113.9");
    assert_eq!(network("::ffff:203.0.113.9"), "203.0.113.9");
}

#[test]
fn a_long_chain_and_a_long_entry_are_not_read_to_the_end() {
    let chain = |proxies: usize| {
        let mut entries = vec!["198.51.100.1"];
        entries.extend(vec!["10.0.0.2"; proxies]);
        entries.join(",")
    };
    assert_eq!(client("10.0.0.1", &[&chain(ENTRIES_MAX - 1)]), "198.51.100.1");
    assert_eq!(client("10.0.0.1", &[&chain(ENTRIES_MAX)]), "10.0.0.2");
    let host = |length: usize| format!("for=198.51.100.1;host={}", "a".repeat(length));
    assert_eq!(
        client_by_forwarded("10.0.0.1", &[&host(BYTES_MAX / 2)]),
        "198.51.100.1"
    );
    assert_eq!(client_by_forwarded("10.0.0.1", &[&host(BYTES_MAX)]), "10.0.0.1");
}

/// What a client can write into its headers to look like somebody else, as lines of one header.
fn forgeries() -> Vec<Vec<String>> {
    let claims = [
        "10.0.0.1",
        "10.255.255.255",
        "127.0.0.1",
        "::1",
        "6.6.6.6",
        "6.6.6.6:80",
        "[fd00::1]",
        "[2001:db8::bad]:443",
        "::ffff:10.0.0.1",
        "unknown",
        "_hidden",
        "",
        "\"",
        "\\",
        "\"6.6.6.6, ",
        "6.6.6.6\\\"",
        "localhost",
        "0x0a000001",
    ];
    let shapes: [fn(&str) -> Vec<String>; 9] = [
        |claim| vec![claim.to_owned()],
        |claim| vec![format!("for={claim}")],
        |claim| vec![format!("for=\"{claim}\"")],
        |claim| vec![format!("for=\"{claim}")],
        |claim| vec![format!("{claim}, {claim},, {claim}")],
        |claim| vec![format!("for={claim};by={claim}, for=\"{claim}\";for={claim}")],
        |claim| vec![claim.to_owned(), String::new(), format!("for={claim}")],
        |claim| vec![format!("{claim},10.0.0.3,for=10.0.0.3")],
        |claim| vec![format!("for=10.0.0.3;host=\"{claim}\\\", for=10.0.0.3")],
    ];
    shapes
        .iter()
        .flat_map(|shape| claims.iter().map(|claim| shape(claim)))
        .collect()
}

const BOTH: [(ForwardedHeader, HeaderName); 2] = [
    (ForwardedHeader::XForwardedFor, X_FORWARDED_FOR),
    (ForwardedHeader::Forwarded, FORWARDED),
];

#[test]
fn hundreds_of_forged_headers_from_a_stranger_change_nothing() {
    let mut tried = 0;
    for lines in forgeries() {
        let mut forged = HeaderMap::new();
        for (_, name) in &BOTH {
            for line in &lines {
                forged.append(name, line.parse().unwrap());
            }
        }
        for (header, _) in BOTH {
            for peer in ["203.0.113.9", "2001:db8::9", "::ffff:203.0.113.9", "11.0.0.1"] {
                let client = proxies().header(header).client_of(address(peer), &forged);
                assert_eq!(client, address(peer).to_canonical(), "{header:?} {lines:?}");
                tried += 1;
            }
        }
    }
    assert!(tried >= 1_000, "{tried}");
}

/// Each forgery at the left of what two honest proxies append: in the same line, in lines of their own, and in quotes.
#[test]
fn forged_left_parts_that_trusted_proxies_append_to_change_nothing() {
    for lines in forgeries() {
        for (header, name) in BOTH {
            let honest = match header {
                ForwardedHeader::XForwardedFor => ["203.0.113.9", "10.0.0.2"],
                ForwardedHeader::Forwarded => [
                    "for=\"203.0.113.9:4711\";host=\"a,\\\"b\";proto=https",
                    "for=10.0.0.2;by=_x",
                ],
            };
            let (last, before) = lines.split_last().unwrap();
            let joined = format!("{last}, {}", honest.join(", "));
            let joined = before.iter().map(String::as_str).chain([joined.as_str()]);
            let apart = lines.iter().map(String::as_str).chain(honest);
            for headers in [headers(&name, joined), headers(&name, apart)] {
                let client = proxies().header(header).client_of(address("10.0.0.1"), &headers);
                assert_eq!(client, address("203.0.113.9"), "{headers:?}");
            }
        }
    }
}

/// Text that looks like a header more often than chance has it.
fn text() -> impl Strategy<Value = Vec<u8>> {
    let piece = prop_oneof![
        Just(b"for=".to_vec()),
        Just(b"10.0.0.2".to_vec()),
        Just(b"203.0.113.9:1".to_vec()),
        Just(b"\"[2001:db8::5]:443\"".to_vec()),
        Just(b", ".to_vec()),
        Just(b";".to_vec()),
        Just(b"\"".to_vec()),
        Just(b"\\".to_vec()),
        prop::collection::vec(any::<u8>(), 0..4),
    ];
    prop::collection::vec(piece, 0..24).prop_map(|pieces| pieces.concat())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_048))]

    #[test]
    fn any_bytes_are_answered_and_a_strangers_count_for_nothing(lines in prop::collection::vec(text(), 0..4)) {
        let mut headers = HeaderMap::new();
        for line in &lines {
            // What is no header value never reaches a server's handler.
            if let Ok(value) = HeaderValue::from_bytes(line) {
                for (_, name) in &BOTH {
                    headers.append(name, value.clone());
                }
            }
        }
        for (header, _) in BOTH {
            let proxies = proxies().header(header);
            prop_assert_eq!(proxies.client_of(address("203.0.113.9"), &headers), address("203.0.113.9"));
            let _ = proxies.client_of(address("10.0.0.1"), &headers);
        }
    }

    #[test]
    fn whatever_a_client_wrote_a_proxys_entry_at_its_right_is_read_the_same(line in text(), port in any::<u16>()) {
        for (header, name) in BOTH {
            let mut bytes = line.clone();
            match header {
                ForwardedHeader::XForwardedFor => bytes.extend(b",203.0.113.9"),
                ForwardedHeader::Forwarded => bytes.extend(format!(",for=\"203.0.113.9:{port}\"").into_bytes()),
            }
            let Ok(value) = HeaderValue::from_bytes(&bytes) else {
                return Ok(());
            };
            let headers = HeaderMap::from_iter([(name, value)]);
            let client = proxies().header(header).client_of(address("10.0.0.1"), &headers);
            prop_assert_eq!(client, address("203.0.113.9"));
        }
    }

    #[test]
    fn every_address_round_trips_in_every_way_it_is_written(bits in any::<u128>(), v4 in any::<bool>(), port in any::<u16>()) {
        let address = if v4 { IpAddr::from((bits as u32).to_be_bytes()) } else { IpAddr::from(bits.to_be_bytes()) };
        let with_port = std::net::SocketAddr::new(address, port).to_string();
        let address = address.to_canonical();
        let bracketed = with_port.rsplit_once(':').unwrap().0;
        for text in [with_port.as_str(), bracketed] {
            prop_assert_eq!(parse(text.as_bytes()), Some(address), "{}", text);
            for element in [format!("for={text}"), format!("proto=http;FoR=\"{text}\" ; by=_x")] {
                prop_assert_eq!(forwarded_for(element.as_bytes()), Some(address), "{}", element);
            }
        }
    }
}
