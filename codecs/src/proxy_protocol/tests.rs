use super::*;
use proptest::prelude::*;

fn parsed(input: &[u8]) -> Result<Status<(Header, usize)>, Error> {
    parse(input, &Limits::default())
}

fn complete(input: &[u8]) -> (Header, usize) {
    match parsed(input) {
        Ok(Status::Complete(done)) => done,
        other => panic!("{other:?} for {input:?}"),
    }
}

fn v2(command: u8, family: u8, rest: &[u8]) -> Vec<u8> {
    let mut out = b"\r\n\r\n\0\r\nQUIT\n".to_vec();
    out.extend_from_slice(&[command, family]);
    out.extend_from_slice(&(rest.len() as u16).to_be_bytes());
    out.extend_from_slice(rest);
    out
}

#[test]
fn v1_lines() {
    let (header, consumed) = complete(b"PROXY TCP4 192.0.2.1 198.51.100.7 56324 443\r\nGET /");
    assert_eq!(consumed, 45);
    assert_eq!(header.source(), Some("192.0.2.1:56324".parse().unwrap()));
    assert_eq!(header.destination(), Some("198.51.100.7:443".parse().unwrap()));
    let (header, _) = complete(b"PROXY TCP6 2001:db8::1 ::1 0 65535\r\n");
    assert_eq!(header.source(), Some("[2001:db8::1]:0".parse().unwrap()));
    assert_eq!(complete(b"PROXY UNKNOWN\r\n").0.addresses, Addresses::Unknown);
    assert_eq!(complete(b"PROXY UNKNOWN ffff:f...f:ffff x 65535 65535\r\n").0.addresses, Addresses::Unknown);
}

#[test]
fn v1_refusals() {
    let cases: &[(&[u8], Error)] = &[
        (b"GET / HTTP/1.1\r\n", Error::NoSignature),
        (b"PROXYTCP4", Error::NoSignature),
        (b"POST", Error::NoSignature),
        (b"PROXY TCP4 1.2.3.4 1.2.3.4 1 2\n", Error::InvalidLine),
        (b"PROXY TCP4 1.2.3.4 1.2.3.4 1\r\n", Error::InvalidLine),
        (b"PROXY TCP4 1.2.3.4 1.2.3.4 1 2 3\r\n", Error::InvalidLine),
        (b"PROXY TCP4  1.2.3.4 1.2.3.4 1 2\r\n", Error::InvalidLine),
        (b"PROXY TCP4 1.2.3.4 1.2.3.4 1 2 \r\n", Error::InvalidLine),
        (b"PROXY UDP4 1.2.3.4 1.2.3.4 1 2\r\n", Error::InvalidLine),
        (b"PROXY UNKNOWNX\r\n", Error::InvalidLine),
        (b"PROXY \r\n", Error::InvalidLine),
        (b"PROXY TCP4 \xff 1.2.3.4 1 2\r\n", Error::InvalidLine),
        (b"PROXY TCP4 01.2.3.4 1.2.3.4 1 2\r\n", Error::InvalidAddress),
        (b"PROXY TCP4 ::1 ::1 1 2\r\n", Error::InvalidAddress),
        (b"PROXY TCP6 1.2.3.4 1.2.3.4 1 2\r\n", Error::InvalidAddress),
        (b"PROXY TCP4 1.2.3.4 1.2.3.4 65536 2\r\n", Error::InvalidPort),
        (b"PROXY TCP4 1.2.3.4 1.2.3.4 01 2\r\n", Error::InvalidPort),
        (b"PROXY TCP4 1.2.3.4 1.2.3.4 +1 2\r\n", Error::InvalidPort),
        (b"PROXY TCP4 1.2.3.4 1.2.3.4 1 -2\r\n", Error::InvalidPort),
    ];
    for (input, error) in cases {
        assert_eq!(parsed(input), Err(*error), "{}", String::from_utf8_lossy(input));
    }
    let mut long = b"PROXY UNKNOWN ".to_vec();
    long.resize(V1_BYTES_MAX - 2, b'x');
    assert_eq!(parsed(&long), Ok(Status::Partial));
    let longest = [&long, b"\r\n".as_slice()].concat();
    assert_eq!(complete(&longest).1, V1_BYTES_MAX);
    long.extend_from_slice(b"xx\r\n");
    assert_eq!(parsed(&long), Err(Error::TooLong));
}

#[test]
fn v2_headers() {
    let block = [192, 0, 2, 1, 198, 51, 100, 7, 0xdc, 0x04, 0x01, 0xbb];
    let input = [v2(0x21, 0x11, &block), b"GET".to_vec()].concat();
    let (header, consumed) = complete(&input);
    assert_eq!((consumed, header.version), (28, Version::V2));
    let (source, destination) = ("192.0.2.1:56324".parse().unwrap(), "198.51.100.7:443".parse().unwrap());
    assert_eq!(header.addresses, Addresses::Ip { source, destination, transport: Transport::Stream });
    assert_eq!(complete(&v2(0x20, 0x11, &block)).0.addresses, Addresses::Local);
    let (header, consumed) = complete(&v2(0x20, 0xff, b"rubbish"));
    assert_eq!((header.addresses, consumed), (Addresses::Local, 23), "what follows LOCAL is skipped");
    assert_eq!(complete(&v2(0x21, 0x00, b"any")).0.addresses, Addresses::Unknown);
    let paths = [[b's'; 108], [b'd'; 108]].concat();
    let input = v2(0x21, 0x32, &paths);
    let Addresses::Unix { source, destination, transport } = complete(&input).0.addresses else { panic!("not UNIX") };
    assert_eq!((source.of(&input), destination.of(&input)), (&[b's'; 108][..], &[b'd'; 108][..]));
    assert_eq!(transport, Transport::Datagram);
}

#[test]
fn v2_refusals() {
    let cases = [
        (v2(0x11, 0x11, &[0; 12]), Error::InvalidCommand),
        (v2(0x22, 0x11, &[0; 12]), Error::InvalidCommand),
        (v2(0x21, 0x41, &[0; 12]), Error::InvalidCommand),
        (v2(0x21, 0x13, &[0; 12]), Error::InvalidCommand),
        (v2(0x21, 0x11, &[0; 11]), Error::InvalidLength),
        (v2(0x21, 0x21, &[0; 35]), Error::InvalidLength),
        (v2(0x21, 0x31, &[0; 215]), Error::InvalidLength),
        (v2(0x21, 0x11, &[0; 14]), Error::InvalidTlv),
        (v2(0x21, 0x11, &[[0; 12].as_slice(), &[4, 0, 9, 1]].concat()), Error::InvalidTlv),
        (v2(0x21, 0x11, &[[0; 12].as_slice(), &[tlv::CRC32C, 0, 1, 1]].concat()), Error::InvalidTlv),
        (v2(0x21, 0x11, &[[0; 12].as_slice(), &[tlv::CRC32C, 0, 4, 1, 2, 3, 4]].concat()), Error::ChecksumMismatch),
        (v2(0x21, 0x11, &[0; 5000]), Error::TooLong),
        (b"\r\n\r\n\0\r\nQUIX".to_vec(), Error::NoSignature),
        (b"\x16\x03\x01".to_vec(), Error::NoSignature),
    ];
    for (input, error) in cases {
        assert_eq!(parsed(&input), Err(error), "{input:?}");
    }
}

#[test]
fn crc32c_matches_the_published_check_value() {
    // The check value of CRC-32/ISCSI over "123456789" is 0xe3069283; here over a whole header, computed bit by bit.
    let mut out = Vec::new();
    let (source, destination) = ("192.0.2.1:1".parse().unwrap(), "192.0.2.2:2".parse().unwrap());
    let tlvs = [Tlv { kind: tlv::AUTHORITY, value: b"example.com" }, Tlv { kind: tlv::CRC32C, value: b"" }];
    assert!(emit_v2_with_tlvs(&mut out, source, destination, &tlvs));
    let sent = u32::from_be_bytes(*out.last_chunk().unwrap());
    let mut zeroed = out.clone();
    let at = zeroed.len() - 4;
    zeroed[at..].fill(0);
    assert_eq!(sent, bitwise_crc32c(&zeroed));
    assert_eq!(bitwise_crc32c(b"123456789"), 0xe306_9283);
    let (header, _) = complete(&out);
    let tlvs: Vec<_> = Tlvs::new(header.tlvs.of(&out)).collect();
    assert_eq!(tlvs[0], Tlv { kind: tlv::AUTHORITY, value: b"example.com" });
    // All but the type of the checksum itself, without which there is none to check.
    for at in (16..out.len()).filter(|at| *at != out.len() - 7) {
        let mut damaged = out.clone();
        damaged[at] ^= 1;
        assert!(parsed(&damaged).is_err(), "a flipped bit at {at} must be noticed");
    }
}

fn bitwise_crc32c(bytes: &[u8]) -> u32 {
    let mut state = !0u32;
    for byte in bytes {
        state ^= u32::from(*byte);
        for _ in 0..8 {
            state = if state & 1 == 1 { (state >> 1) ^ 0x82f6_3b78 } else { state >> 1 };
        }
    }
    !state
}

#[test]
fn vectors_that_do_not_fit_are_refused() {
    let address = "192.0.2.1:1".parse().unwrap();
    let mut out = b"before".to_vec();
    assert!(!emit_v2_with_tlvs(&mut out, address, address, &[Tlv { kind: 4, value: &[0; 65_530] }]));
    assert_eq!(out, b"before");
}

#[test]
fn other_headers_that_are_emitted() {
    for (emit, addresses) in
        [(emit_v1_unknown as fn(&mut Vec<u8>), Addresses::Unknown), (emit_v2_local, Addresses::Local)]
    {
        let mut out = Vec::new();
        emit(&mut out);
        let (header, consumed) = complete(&out);
        assert_eq!((header.addresses, consumed), (addresses, out.len()));
    }
}

#[test]
fn mixed_families_are_written_as_ipv6() {
    let (source, destination) = ("192.0.2.1:1".parse().unwrap(), "[2001:db8::2]:2".parse().unwrap());
    for emit in [emit_v1, emit_v2] {
        let mut out = Vec::new();
        emit(&mut out, source, destination);
        let (header, _) = complete(&out);
        assert_eq!(header.source(), Some("[::ffff:192.0.2.1]:1".parse().unwrap()));
        assert_eq!(header.destination(), Some(destination));
    }
}

proptest! {
    #[test]
    fn what_is_emitted_parses_at_any_cut(source: SocketAddr, destination: SocketAddr, text: bool, tail: Vec<u8>) {
        // Flow labels and scopes aren't part of the protocol.
        let source = SocketAddr::new(source.ip(), source.port());
        let destination = SocketAddr::new(destination.ip(), destination.port());
        let mut out = Vec::new();
        if text { emit_v1(&mut out, source, destination) } else { emit_v2(&mut out, source, destination) }
        for cut in 0..out.len() {
            prop_assert_eq!(parsed(&out[..cut]), Ok(Status::Partial));
        }
        let len = out.len();
        prop_assert!(!text || len <= V1_BYTES_MAX);
        out.extend_from_slice(&tail);
        let (header, consumed) = complete(&out);
        let (source, destination) = same_family(source, destination);
        prop_assert_eq!((header.source(), header.destination(), consumed), (Some(source), Some(destination), len));
    }

    #[test]
    fn any_bytes_are_parsed_or_refused(mut input: Vec<u8>, signed: bool) {
        if signed {
            input.splice(0..0, *b"\r\n\r\n\0\r\nQUIT\n\x21");
        }
        if let Ok(Status::Complete((header, consumed))) = parsed(&input) {
            prop_assert!(consumed <= input.len() && header.tlvs.end as usize <= consumed);
            prop_assert_eq!(parsed(&input[..consumed]), Ok(Status::Complete((header, consumed))));
        }
    }
}
