//! The subject alternative names of a certificate.
//!
//! Reads DER. It never panics and allocates only the names. The certificate was parsed by webpki before, which checks the
//! rest of it.
//!
//! See: RFC 5280, sections 4.1 and 4.2.1.6; X.690, sections 8 and 10.

use std::net::{Ipv4Addr, Ipv6Addr};

const OCTET_STRING: u8 = 0x04;
const OBJECT_ID: u8 = 0x06;
const SEQUENCE: u8 = 0x30;
/// The optional fields of a certificate that follow the public key.
const EXTENSIONS: u8 = 0xa3;
/// The names in the extension: e-mail address, DNS name, URI, IP address.
const EMAIL: u8 = 0x81;
const DNS: u8 = 0x82;
const URI: u8 = 0x86;
const IP: u8 = 0x87;
/// The object identifier 2.5.29.17.
const SUBJECT_ALT_NAME: &[u8] = &[0x55, 0x1d, 0x11];

/// A value in DER: its tag and its content.
type Value<'a> = (u8, &'a [u8]);

/// Splits the first value off.
fn next<'a>(bytes: &mut &'a [u8]) -> Option<Value<'a>> {
    let (&tag, rest) = bytes.split_first()?;
    let (&first, rest) = rest.split_first()?;
    let (len, rest) = match first {
        0..=0x7f => (usize::from(first), rest),
        0x81..=0x83 => {
            let (digits, rest) = rest.split_at_checked(usize::from(first - 0x80))?;
            (digits.iter().fold(0, |len, digit| len << 8 | usize::from(*digit)), rest)
        }
        _ => return None,
    };
    let (content, rest) = rest.split_at_checked(len)?;
    *bytes = rest;
    Some((tag, content))
}

fn expect<'a>(bytes: &mut &'a [u8], tag: u8) -> Option<&'a [u8]> {
    next(bytes).filter(|(found, _)| *found == tag).map(|(_, content)| content)
}

/// The DNS names, e-mail addresses, IP addresses and URIs of a certificate; `None` if it is malformed.
pub(super) fn alternative_names(certificate: &[u8]) -> Option<Vec<String>> {
    let mut rest = certificate;
    let mut certificate = expect(&mut rest, SEQUENCE)?;
    let mut signed = expect(&mut certificate, SEQUENCE)?;
    let mut extensions: &[u8] = &[];
    while let Some((tag, content)) = next(&mut signed) {
        if tag == EXTENSIONS {
            let mut content = content;
            extensions = expect(&mut content, SEQUENCE)?;
        }
    }
    let mut names = Vec::new();
    while let Some(mut extension) = next(&mut extensions).map(|(_, content)| content) {
        if expect(&mut extension, OBJECT_ID)? != SUBJECT_ALT_NAME {
            continue;
        }
        // A flag whether the extension is critical may precede the value.
        let mut value = loop {
            let (tag, content) = next(&mut extension)?;
            if tag == OCTET_STRING {
                break content;
            }
        };
        let mut list = expect(&mut value, SEQUENCE)?;
        while let Some((tag, content)) = next(&mut list) {
            match tag {
                EMAIL | DNS | URI => names.push(std::str::from_utf8(content).ok()?.to_owned()),
                IP => names.push(ip_address(content)?),
                _ => {}
            }
        }
    }
    Some(names)
}

fn ip_address(bytes: &[u8]) -> Option<String> {
    if let Ok(bytes) = <[u8; 4]>::try_from(bytes) {
        return Some(Ipv4Addr::from(bytes).to_string());
    }
    <[u8; 16]>::try_from(bytes).ok().map(|bytes| Ipv6Addr::from(bytes).to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const INTEGER: u8 = 0x02;
    const VERSION: u8 = 0xa0;

    fn der(tag: u8, content: &[u8]) -> Vec<u8> {
        let len = content.len();
        let mut bytes = vec![tag];
        match len {
            0..=0x7f => bytes.push(len as u8),
            _ => bytes.extend([0x82, (len >> 8) as u8, len as u8]),
        }
        bytes.extend(content);
        bytes
    }

    /// A certificate with these names, as far as they are read.
    fn certificate(names: &[(u8, &[u8])]) -> Vec<u8> {
        let names: Vec<u8> = names.iter().flat_map(|(tag, name)| der(*tag, name)).collect();
        let value = der(OCTET_STRING, &der(SEQUENCE, &names));
        let id = der(OBJECT_ID, SUBJECT_ALT_NAME);
        let extension = der(SEQUENCE, &[id, der(0x01, &[0xff]), value].concat());
        let other = der(SEQUENCE, &[der(OBJECT_ID, &[0x55, 0x1d, 0x13]), der(4, &[])].concat());
        let extensions = der(EXTENSIONS, &der(SEQUENCE, &[other, extension].concat()));
        let before = [der(VERSION, &der(INTEGER, &[2])), der(INTEGER, &[7; 200])].concat();
        der(SEQUENCE, &der(SEQUENCE, &[before, extensions].concat()))
    }

    #[test]
    fn names_of_four_kinds_are_read() {
        let names: [(u8, &[u8]); 6] = [
            (DNS, b"prometheus.example"),
            (EMAIL, b"ops@example"),
            (URI, b"spiffe://cluster/prometheus"),
            (IP, &[127, 0, 0, 1]),
            (IP, &[0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]),
            (0x84, b"another kind"),
        ];
        let expected = [
            "prometheus.example",
            "ops@example",
            "spiffe://cluster/prometheus",
            "127.0.0.1",
            "::1",
        ];
        assert_eq!(alternative_names(&certificate(&names)).unwrap(), expected);
        assert!(alternative_names(&der(SEQUENCE, &der(SEQUENCE, &[]))).unwrap().is_empty());
    }

    #[test]
    fn malformed_certificates_have_no_names() {
        let whole = certificate(&[(DNS, b"a.example")]);
        for len in 0..whole.len() {
            assert_eq!(alternative_names(&whole[..len]), None, "{len}");
        }
        assert_eq!(alternative_names(&certificate(&[(IP, &[1, 2, 3])])), None);
        assert_eq!(alternative_names(&certificate(&[(DNS, &[0xff])])), None);
    }

    proptest! {
        #[test]
        fn no_bytes_make_the_reader_panic(at: usize, byte: u8, bytes: Vec<u8>) {
            let mut changed = certificate(&[(DNS, b"a.example"), (IP, &[127, 0, 0, 1])]);
            let at = at % changed.len();
            changed[at] = byte;
            let _ = (alternative_names(&changed), alternative_names(&bytes));
        }
    }
}
