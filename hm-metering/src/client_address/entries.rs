//! The entries of a header line, from right to left, and the address in each.

use std::borrow::Cow;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Cuts a line at its commas, the last entry first; commas in quoted strings don't count if `quoted`.
///
/// Reading really goes from right to left. Whatever a client wrote at the left, such as a quote that it never closes,
/// can't change how the part is understood that a proxy wrote at the right.
pub(super) fn entries(line: &[u8], quoted: bool) -> impl Iterator<Item = &[u8]> {
    let mut rest = Some(line);
    std::iter::from_fn(move || {
        let whole = rest?;
        let comma = if quoted {
            last_comma_outside_quotes(whole)
        } else {
            whole.iter().rposition(|byte| *byte == b',')
        };
        let entry = match comma {
            Some(at) => {
                rest = Some(&whole[..at]);
                &whole[at + 1..]
            }
            None => {
                rest = None;
                whole
            }
        };
        Some(entry.trim_ascii())
    })
}

fn last_comma_outside_quotes(text: &[u8]) -> Option<usize> {
    let mut inside = false;
    for (at, byte) in text.iter().enumerate().rev() {
        match byte {
            b',' if !inside => return Some(at),
            // Seen from the right, the quote that ends a string is the first one met. Within the string a quote is
            // escaped by an odd number of backslashes before it.
            b'"' if !inside => inside = true,
            b'"' if is_escaped(&text[..at]) => {}
            b'"' => inside = false,
            _ => {}
        }
    }
    None
}

/// Whether the byte that follows `before` is escaped.
fn is_escaped(before: &[u8]) -> bool {
    let others = before.iter().rposition(|byte| *byte != b'\\');
    let backslashes = before.len() - others.map_or(0, |at| at + 1);
    backslashes % 2 == 1
}

/// The address in the parameter `for` of an element of `Forwarded`. None if the element is malformed, has no such
/// parameter or two of them, or names somebody by something else than an address.
pub(super) fn forwarded_for(element: &[u8]) -> Option<IpAddr> {
    let mut node = None;
    let mut rest = element;
    loop {
        let equals = rest.iter().position(|byte| *byte == b'=')?;
        let (name, value) = (rest[..equals].trim_ascii_start(), &rest[equals + 1..]);
        if name.is_empty() || !name.iter().all(|byte| is_token(*byte)) {
            return None;
        }
        let (value, after) = take_value(value)?;
        if name.eq_ignore_ascii_case(b"for") && node.replace(value).is_some() {
            return None;
        }
        match after.trim_ascii_start() {
            [] => break,
            [b';', after @ ..] => rest = after,
            _ => return None,
        }
    }
    parse(&node?)
}

/// Takes a token or a quoted string from the beginning of `text`.
fn take_value(text: &[u8]) -> Option<(Cow<'_, [u8]>, &[u8])> {
    let Some(quoted) = text.strip_prefix(b"\"") else {
        let end = text.iter().position(|byte| *byte == b';').unwrap_or(text.len());
        // Colons and brackets belong into quotes, and some proxies leave them out.
        let value = text[..end].trim_ascii_end();
        let is_plain = |byte: &u8| is_token(*byte) || matches!(byte, b':' | b'[' | b']');
        return (!value.is_empty() && value.iter().all(is_plain))
            .then(|| (Cow::Borrowed(value), &text[end..]));
    };
    let mut value = Vec::new();
    let mut bytes = quoted.iter().enumerate();
    while let Some((at, byte)) = bytes.next() {
        match byte {
            b'"' => return Some((Cow::Owned(value), &quoted[at + 1..])),
            b'\\' => value.push(*bytes.next()?.1),
            byte => value.push(*byte),
        }
    }
    None
}

/// RFC 9110, section 5.6.2.
const fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric()
        || matches!(
            byte,
            b'!' | b'#'
                | b'$'
                | b'%'
                | b'&'
                | b'\''
                | b'*'
                | b'+'
                | b'-'
                | b'.'
                | b'^'
                | b'_'
                | b'`'
                | b'|'
                | b'~'
        )
}

/// An address, with or without a port, IPv6 in brackets or, without a port, not.
pub(super) fn parse(text: &[u8]) -> Option<IpAddr> {
    let text = std::str::from_utf8(text).ok()?;
    let address = if let Some(rest) = text.strip_prefix('[') {
        let (address, port) = rest.split_once(']')?;
        let has_port = port.strip_prefix(':').is_some_and(is_port);
        (port.is_empty() || has_port).then_some(())?;
        IpAddr::V6(address.parse::<Ipv6Addr>().ok()?)
    } else if let Ok(address) = text.parse::<IpAddr>() {
        address
    } else {
        let (address, port) = text.split_once(':')?;
        is_port(port).then_some(())?;
        IpAddr::V4(address.parse::<Ipv4Addr>().ok()?)
    };
    Some(address.to_canonical())
}

/// A port, or what stands for one (RFC 7239, section 6.3).
fn is_port(text: &str) -> bool {
    let is_obfuscated = |name: &str| {
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
        !name.is_empty() && name.bytes().all(plain)
    };
    let is_number = (1..=5).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit());
    is_number || text.strip_prefix('_').is_some_and(is_obfuscated)
}
