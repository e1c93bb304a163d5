//! TLS as the command line asks for it.

use std::path::Path;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use codecs::tls::{
    Certificate, ClientConfig, ClientSettings, Clock, Roots, ServerConfig, ServerSettings, TicketKeys, Version,
};

use crate::cli;

/// Where distributions keep the authorities that the system trusts.
const SYSTEM_CA: &str = "/etc/ssl/certs/ca-certificates.crt";
/// Seconds after which the origin's tickets can't be used any more.
const TICKET_PERIOD_S: u64 = 12 * 3600;
/// Tickets that a core keeps when sessions are resumed.
const TICKETS_MAX: usize = 1024;

#[derive(Debug)]
struct SystemClock;

impl Clock for SystemClock {
    fn unix_s(&self) -> u64 {
        SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
    }
}

fn read(path: &Path) -> Result<Vec<u8>, String> {
    std::fs::read(path).map_err(|error| format!("can't read {}: {error}", path.display()))
}

/// What connections to an https server have in common; `alpn` is the protocol that it must speak.
pub(crate) fn client(arguments: &cli::Tls, alpn: &[u8]) -> Result<ClientConfig, String> {
    let roots = match &arguments.ca {
        _ if arguments.insecure => Roots::from_der([]),
        Some(path) => Roots::from_pem(&read(path)?).map_err(|error| format!("--ca {}: {error}", path.display()))?,
        None => {
            let hint = "name the authority with --ca, or use --insecure";
            let pem = read(Path::new(SYSTEM_CA)).map_err(|error| format!("{error}; {hint}"))?;
            Roots::from_pem(&pem).map_err(|error| format!("{SYSTEM_CA}: {error}; {hint}"))?
        }
    };
    let settings = ClientSettings {
        verify: !arguments.insecure,
        alpn: vec![alpn.to_vec()],
        max_version: arguments.tls_max.unwrap_or(Version::Tls13),
        tickets_max: if arguments.resume { TICKETS_MAX } else { 0 },
        ..ClientSettings::new(roots)
    };
    ClientConfig::new(&settings, Arc::new(SystemClock)).map_err(|error| format!("TLS: {error}"))
}

/// What the origin's connections have in common; `None` if it is to serve plain HTTP.
pub(crate) fn server(arguments: &cli::Origin) -> Result<Option<ServerConfig>, String> {
    let (Some(chain), Some(key)) = (&arguments.tls_cert, &arguments.tls_key) else { return Ok(None) };
    let tickets = TicketKeys::new(TICKET_PERIOD_S, SystemClock.unix_s()).map_err(|error| format!("TLS: {error}"))?;
    let settings = ServerSettings {
        certificates: vec![Certificate { chain_pem: read(chain)?, key_pem: read(key)?, ..Certificate::default() }],
        alpn: vec![b"h2".to_vec(), b"http/1.1".to_vec()],
        tickets: Some(Arc::new(tickets)),
        ..ServerSettings::default()
    };
    ServerConfig::new(&settings, Arc::new(SystemClock)).map(Some).map_err(|error| format!("TLS: {error}"))
}
