//! Strangers' text made harmless for a terminal: names, arguments, URLs and statements are chosen by whoever sends or runs them.

use std::borrow::Cow;

/// Replaces what a terminal would obey rather than show: control characters (C0, DEL, C1, so every escape sequence's
/// start) and the Unicode marks that reorder or hide text.
#[must_use]
pub fn harmless(text: &str) -> Cow<'_, str> {
    if text.chars().any(is_active) {
        Cow::Owned(text.chars().map(|c| if is_active(c) { '\u{fffd}' } else { c }).collect())
    } else {
        Cow::Borrowed(text)
    }
}

/// The same for text of several lines, which stay lines.
#[must_use]
pub fn harmless_lines(text: &str) -> String {
    text.split('\n').map(harmless).collect::<Vec<_>>().join("\n")
}

fn is_active(c: char) -> bool {
    c.is_control()
        // Zero-width and direction marks, line and paragraph separators, invisible operators, BOM, language tags.
        || matches!(c, '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escape_sequences_and_direction_marks_are_shown_not_obeyed() {
        assert_eq!(
            harmless("GET /\u{1b}[2J\u{9b}31m\n\u{202e}x\u{200b}"),
            "GET /\u{fffd}[2J\u{fffd}31m\u{fffd}\u{fffd}x\u{fffd}"
        );
        assert_eq!(harmless_lines("one\ntwo\r\n\u{1b}"), "one\ntwo\u{fffd}\n\u{fffd}");
        assert_eq!(harmless("SELECT café 日本"), "SELECT café 日本");
    }
}
