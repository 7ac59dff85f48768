//! Texts of strangers, made plain and short.

use reqwest::Url;

/// The most characters of a title.
pub(super) const TITLE_CHARS_MAX: usize = 300;
/// The most characters of a summary.
pub(super) const SUMMARY_CHARS_MAX: usize = 1_000;
/// The most characters of a name, a category and the like.
pub(super) const NAME_CHARS_MAX: usize = 120;
/// The most bytes of a link; a longer one is dropped, since a cut link leads elsewhere.
const URL_LEN_MAX: usize = 2_048;

/// One line of plain text: white space and control characters become single spaces, and what is longer than
/// `chars_max` is cut and ends in an ellipsis. None when nothing is left.
pub(super) fn plain(text: &str, chars_max: usize) -> Option<String> {
    let mut line = String::new();
    let mut chars = 0;
    let mut gap = false;
    for c in text.chars() {
        if c.is_whitespace() || c.is_control() || is_invisible(c) {
            gap = gap || c.is_whitespace() || c.is_control();
            continue;
        }
        let needed = if gap && chars > 0 { 2 } else { 1 };
        if chars + needed > chars_max {
            // The last character gives way where there is no room left, so that the ellipsis is within the bound.
            if chars >= chars_max {
                line.pop();
            }
            line.truncate(line.trim_end().len());
            line.push('…');
            return Some(line);
        }
        if needed == 2 {
            line.push(' ');
        }
        line.push(c);
        chars += needed;
        gap = false;
    }
    (!line.is_empty()).then_some(line)
}

/// Marks that have no shape but reorder or hide the text around them.
fn is_invisible(c: char) -> bool {
    matches!(c, '\u{200b}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}')
}

/// The text of an HTML fragment, made [plain]: tags and comments are removed, entities become characters.
pub(super) fn from_html(html: &str, chars_max: usize) -> Option<String> {
    plain(&decode_entities(&strip_tags(html)), chars_max)
}

fn strip_tags(html: &str) -> String {
    let mut text = String::with_capacity(html.len());
    let mut rest = html;
    while let Some(start) = rest.find('<') {
        let (before, tag) = rest.split_at(start);
        text.push_str(before);
        let body = &tag[1..];
        if !body.starts_with(|c: char| c.is_ascii_alphabetic() || matches!(c, '/' | '!' | '?')) {
            text.push('<');
            rest = body;
            continue;
        }
        let end = if let Some(comment) = body.strip_prefix("!--") {
            comment.find("-->").map(|at| at + 6)
        } else {
            body.find('>').map(|at| at + 1)
        };
        // A tag that does not end swallows the rest, so that half a tag is never taken for text.
        let Some(end) = end else { return text };
        if breaks_line(&body[..end]) {
            text.push(' ');
        }
        rest = &body[end..];
    }
    text.push_str(rest);
    text
}

fn breaks_line(tag: &str) -> bool {
    let name = tag.trim_start_matches('/');
    let name = name
        .split(|c: char| !c.is_ascii_alphanumeric())
        .next()
        .unwrap_or_default();
    ["p", "br", "li", "div", "tr", "pre"]
        .iter()
        .any(|block| name.eq_ignore_ascii_case(block))
}

fn decode_entities(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(start) = rest.find('&') {
        out.push_str(&rest[..start]);
        rest = &rest[start..];
        match entity(rest) {
            Some((c, len)) => {
                out.push(c);
                rest = &rest[len..];
            }
            None => {
                out.push('&');
                rest = &rest[1..];
            }
        }
    }
    out.push_str(rest);
    out
}

/// The character that the entity at the start of `text` stands for, and the entity's length.
fn entity(text: &str) -> Option<(char, usize)> {
    let end = text.bytes().take(12).position(|byte| byte == b';')?;
    let name = text.get(1..end)?;
    let c = match name {
        "amp" => '&',
        "lt" => '<',
        "gt" => '>',
        "quot" => '"',
        "apos" => '\'',
        "nbsp" => '\u{a0}',
        "ndash" => '–',
        "mdash" => '—',
        "hellip" => '…',
        _ => {
            let number = name.strip_prefix('#')?;
            let code = match number.strip_prefix(['x', 'X']) {
                Some(hex) => u32::from_str_radix(hex, 16),
                None => number.parse(),
            };
            char::from_u32(code.ok()?)?
        }
    };
    Some((c, end + 1))
}

/// A link to the web, or none when it is anything else (`javascript:` and the like), too long, or not a link.
pub(super) fn web_link(text: &str) -> Option<String> {
    if text.len() > URL_LEN_MAX {
        return None;
    }
    let url = Url::parse(text.trim()).ok()?;
    let is_web = matches!(url.scheme(), "http" | "https") && url.has_host();
    (is_web && url.as_str().len() <= URL_LEN_MAX).then(|| url.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn white_space_and_control_characters_become_single_spaces() {
        assert_eq!(plain(" a\n\t b\0c ", 50).unwrap(), "a b c");
        assert_eq!(plain(" \n\0 ", 50), None);
    }

    #[test]
    fn marks_that_turn_text_around_are_dropped() {
        assert_eq!(plain("in\u{202e}voice\u{200b}s", 50).unwrap(), "invoices");
    }

    #[test]
    fn long_text_is_cut_within_the_bound() {
        let cut = plain(&"é".repeat(20), 10).unwrap();
        assert_eq!(cut, format!("{}…", "é".repeat(9)));
        assert_eq!(plain("aaaa bbbb", 5).unwrap(), "aaaa…");
        assert_eq!(plain("aaa bbbb", 5).unwrap(), "aaa…");
        assert_eq!(plain("aaaa bbbb", 9).unwrap(), "aaaa bbbb");
    }

    #[test]
    fn tags_are_removed_and_entities_decoded() {
        assert_eq!(
            from_html(
                "The <span class=\"searchmatch\">red</span> panda &amp; its &#x1F43C; cousin&#39;s",
                80
            )
            .unwrap(),
            "The red panda & its 🐼 cousin's"
        );
        assert_eq!(
            from_html("one<p>two<br/>three</p><!-- <b>no</b> > -->four", 80).unwrap(),
            "one two three four"
        );
    }

    #[test]
    fn what_only_looks_like_markup_stays() {
        assert_eq!(
            from_html("1 < 2 & 3 > 2; &bogus; &#xZZ;", 80).unwrap(),
            "1 < 2 & 3 > 2; &bogus; &#xZZ;"
        );
    }

    #[test]
    fn half_a_tag_is_not_text() {
        assert_eq!(from_html("safe <img src=x onerror=alert(1)", 80).unwrap(), "safe");
    }

    #[test]
    fn an_escaped_tag_is_decoded_once() {
        assert_eq!(from_html("&amp;lt;b&amp;gt;", 80).unwrap(), "&lt;b&gt;");
    }

    #[test]
    fn only_links_to_the_web_pass() {
        assert_eq!(
            web_link("https://example.org/a b").unwrap(),
            "https://example.org/a%20b"
        );
        for bad in [
            "javascript:alert(1)",
            "data:text/html,x",
            "ftp://example.org/",
            "//example.org",
            "",
            "http://",
        ] {
            assert_eq!(web_link(bad), None, "{bad}");
        }
        assert_eq!(
            web_link(&format!("https://example.org/{}", "a".repeat(3_000))),
            None
        );
    }
}
