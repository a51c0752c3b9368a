//! `OTEL_RESOURCE_ATTRIBUTES`: `key=value,key=value`, percent-encoded (OpenTelemetry specification, Resource SDK).

/// How many attributes are taken from a process's environment: OpenTelemetry's default limit on attributes.
const MAX_ATTRIBUTES: usize = 128;

/// Decodes the variable. As the specification asks, any error discards the whole of it: `None`.
#[must_use]
pub fn resource_attributes(text: &str) -> Option<Vec<(String, String)>> {
    let members = text.split(',').map(str::trim).filter(|member| !member.is_empty());
    members
        .take(MAX_ATTRIBUTES)
        .map(|member| {
            let (key, value) = member.split_once('=')?;
            let key = percent_decode(key.trim())?;
            (!key.is_empty()).then_some((key, percent_decode(value.trim())?))
        })
        .collect()
}

fn percent_decode(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&first, tail)) = rest.split_first() {
        let (byte, tail) = if first == b'%' {
            let (digits, tail) = tail.split_at_checked(2)?;
            // from_str_radix alone would take a sign.
            let digits = digits.iter().all(u8::is_ascii_hexdigit).then_some(digits)?;
            (u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()?, tail)
        } else {
            (first, tail)
        };
        bytes.push(byte);
        rest = tail;
    }
    std::str::from_utf8(&bytes).ok()?;
    Some(super::proc::shown(&bytes))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, clippy::expect_used, reason = "tests")]
    use super::*;

    #[test]
    fn decodes_the_members() {
        let decoded =
            resource_attributes(" service.name=my%20shop , deployment.environment.name=a%3Db%2Cc,empty=,x=y=z,")
                .unwrap();
        let expected =
            [("service.name", "my shop"), ("deployment.environment.name", "a=b,c"), ("empty", ""), ("x", "y=z")];
        assert_eq!(decoded, expected.map(|(key, value)| (key.to_owned(), value.to_owned())));
        assert_eq!(resource_attributes("k=%C3%BC").unwrap()[0].1, "ü");
        assert_eq!(resource_attributes("k=%1b%5b").unwrap()[0].1, "\u{fffd}[", "control characters are not passed on");
    }

    #[test]
    fn an_error_discards_everything() {
        for text in ["a=1,b", "a=1,b=%zz", "a=%f", "a=%+1", "a=1,=2", "a=%ff"] {
            assert_eq!(resource_attributes(text), None, "{text}");
        }
    }

    #[test]
    fn takes_a_bounded_number() {
        let text = (0..10_000).map(|n| format!("k{n}=v,")).collect::<String>();
        assert_eq!(resource_attributes(&text).unwrap().len(), MAX_ATTRIBUTES);
    }
}
