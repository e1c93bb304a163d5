//! Looking at the first bytes of a connection.

use super::sniff::{Error, HELLO_BYTES_MAX, Hello, Sniffed, sniff};
use super::*;
use crate::Status;
use proptest::prelude::*;

fn hello(post_quantum: bool, name: &str, alpn: &[&str]) -> Vec<u8> {
    let settings = ClientSettings {
        server_name: Some(name.to_owned()),
        alpn: alpn.iter().map(|name| name.as_bytes().to_vec()).collect(),
        post_quantum,
        ..client_settings()
    };
    End::client(&client_config(&settings)).out
}

/// The same hello in records of so many bytes.
fn cut(hello: &[u8], bytes: usize) -> Vec<u8> {
    let record = |part: &[u8]| {
        let [high, low] = u16::try_from(part.len()).expect("short").to_be_bytes();
        [&[22, 3, 1, high, low], part].concat()
    };
    hello[5..].chunks(bytes).flat_map(record).collect()
}

fn told(name: Option<&str>, alpn: &[&str]) -> Result<Status<Sniffed>, Error> {
    Ok(Status::Complete(Sniffed::Tls(Hello {
        server_name: name.map(Into::into),
        alpn: alpn.iter().map(|name| name.as_bytes().into()).collect(),
    })))
}

#[test]
fn name_and_protocols_are_told() {
    assert_eq!(
        sniff(&hello(false, "Example.COM", &["h2", "http/1.1"])),
        told(Some("example.com"), &["h2", "http/1.1"])
    );
    assert_eq!(sniff(&hello(true, "127.0.0.1", &[])), told(None, &[]));
    // What follows the hello doesn't matter.
    let more = [&hello(false, "example.com", &[])[..], b"\x14\x03\x03\x00\x01\x01"].concat();
    assert_eq!(sniff(&more), told(Some("example.com"), &[]));
}

#[test]
fn plain_is_recognised_by_the_first_bytes() {
    for first in
        ["G", "GET / HTTP/1.1", "PRI * HTTP/2.0", "\0", "PROXY TCP4", "*1\r\n", "\x16\x02", "\x16\x03\x05", "\x15"]
    {
        assert_eq!(sniff(first.as_bytes()), Ok(Status::Complete(Sniffed::Plain)), "{first:?}");
    }
    for first in ["", "\x16", "\x16\x03", "\x16\x03\x01", "\x16\x03\x01\x02"] {
        assert_eq!(sniff(first.as_bytes()), Ok(Status::Partial), "{first:?}");
    }
}

#[test]
fn what_begins_as_tls_and_goes_on_otherwise_is_an_error() {
    for (bytes, error) in [
        (&b"\x16\x03\x01\x00\x00"[..], Error::Malformed),
        (b"\x16\x03\x01\x40\x01", Error::Malformed),
        (b"\x16\x03\x01\x00\x01\x02", Error::Malformed),
        (b"\x16\x03\x01\x00\x01\x01GET", Error::Malformed),
        (b"\x16\x03\x01\x00\x04\x01\x00\xff\xff", Error::TooLong),
        (b"\x16\x03\x01\x00\x04\x01\x00\x00\x00", Error::Malformed),
        (b"\x16\x03\x01\x00\x05\x01\x00\x00\x01\x03", Error::Malformed),
    ] {
        assert_eq!(sniff(bytes), Err(error), "{bytes:?}");
    }
    // As many records as it likes, but not for ever.
    let endless =
        [&b"\x16\x03\x01\x00\x04\x01\x00\x7f\xff"[..], &b"\x16\x03\x01\x00\x01\x00".repeat(HELLO_BYTES_MAX)].concat();
    assert_eq!(sniff(&endless), Err(Error::TooLong));
}

#[test]
fn a_name_that_is_none_is_left_out() {
    let good = hello(false, "example.com", &["h2"]);
    let place = memchr::memmem::find(&good, b"example.com").expect("the name");
    for (byte, replaced) in [(b'/', None), (0, None), (0xff, None), (b'X', Some("xxample.com"))] {
        let mut bytes = good.clone();
        bytes[place] = byte;
        assert_eq!(sniff(&bytes), told(replaced, &["h2"]));
    }
    let mut dotted = good;
    dotted[place + "example.com".len() - 1] = b'.';
    assert_eq!(sniff(&dotted), told(Some("example.co"), &["h2"]));
}

proptest! {
    #[test]
    fn any_cut_into_records_and_chunks_tells_the_same(bytes in 1_usize..600, post_quantum in any::<bool>()) {
        let whole = cut(&hello(post_quantum, "example.com", &["h2"]), bytes);
        for end in 0..whole.len() {
            prop_assert_eq!(sniff(&whole[..end]), Ok(Status::Partial));
        }
        prop_assert_eq!(sniff(&whole), told(Some("example.com"), &["h2"]));
    }

    #[test]
    fn a_damaged_hello_is_never_a_panic(place in any::<prop::sample::Index>(), byte in any::<u8>(), bytes in 1_usize..600) {
        let mut whole = cut(&hello(false, "example.com", &["h2"]), bytes);
        let place = place.index(whole.len());
        whole[place] = byte;
        let _ = sniff(&whole);
    }
}
