//! The command line that every forwarder has, so that `scripts/bench` can start any of them alike.

use std::net::SocketAddr;

/// Copies the bytes of each client connection to one upstream connection and back, on one thread.
#[derive(clap::Parser, Clone, Debug)]
pub struct Options {
    /// Address to accept clients on.
    #[arg(long)]
    pub listen: SocketAddr,

    /// Address that every accepted connection is forwarded to.
    #[arg(long)]
    pub upstream: SocketAddr,

    /// Bytes of one receive buffer.
    #[arg(long, default_value_t = 16 * 1024, value_parser = clap::value_parser!(u32).range(512..=1 << 20))]
    pub buffer_bytes: u32,

    /// Receive buffers of the whole process, a power of two; only forwarders with a shared pool use it.
    #[arg(long, default_value_t = 1024, value_parser = power_of_two)]
    pub buffers: u16,
}

/// A provided buffer ring has 1 to 32,768 entries, a power of two.
fn power_of_two(text: &str) -> Result<u16, String> {
    match text.parse::<u16>() {
        Ok(count) if count.is_power_of_two() => Ok(count),
        _ => Err(format!("expected a power of two up to 32768, found `{text}`")),
    }
}

#[cfg(test)]
mod tests {
    use super::power_of_two;

    #[test]
    fn a_buffer_ring_takes_powers_of_two_only() {
        assert_eq!(power_of_two("32768"), Ok(32768));
        assert!(power_of_two("0").is_err());
        assert!(power_of_two("1000").is_err());
        assert!(power_of_two("65536").is_err());
    }
}
