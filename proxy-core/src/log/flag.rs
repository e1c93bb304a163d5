//! Response flags: why an answer isn't simply the upstream's. Envoy's letters and names.

macro_rules! flags {
    ($($flag:ident $short:literal $meaning:literal;)+) => {
        /// One reason. The variant's name is the long form.
        #[derive(Clone, Copy, PartialEq, Eq, Debug)]
        #[repr(u8)]
        pub enum Flag { $(#[doc = $meaning] $flag,)+ }

        impl Flag {
            pub const ALL: &'static [Flag] = &[$(Flag::$flag,)+];

            /// Two to five letters.
            pub fn short(self) -> &'static str {
                match self { $(Flag::$flag => $short,)+ }
            }

            pub fn long(self) -> &'static str {
                match self { $(Flag::$flag => stringify!($flag),)+ }
            }

            /// One sentence.
            pub fn meaning(self) -> &'static str {
                match self { $(Flag::$flag => $meaning,)+ }
            }
        }
    };
}

flags! {
    FailedLocalHealthCheck "LH" "The health check of this process fails.";
    NoHealthyUpstream "UH" "The cluster has no healthy endpoint.";
    UpstreamRequestTimeout "UT" "The endpoint took longer than the route's timeout.";
    LocalReset "LR" "We gave the connection to the endpoint up.";
    UpstreamRemoteReset "UR" "The endpoint reset the connection or stream.";
    UpstreamConnectionFailure "UF" "No connection to the endpoint came up.";
    UpstreamConnectionTermination "UC" "The endpoint closed the connection under the request.";
    UpstreamOverflow "UO" "The cluster had too much under way.";
    NoRouteFound "NR" "No route matched, or a TCP listener had no cluster to go to.";
    DelayInjected "DI" "The request was delayed on purpose.";
    FaultInjected "FI" "The request was failed on purpose.";
    RateLimited "RL" "The client was over its rate.";
    UnauthorizedExternalService "UAEX" "An authorization service refused the request.";
    RateLimitServiceError "RLSE" "The rate limit service failed.";
    DownstreamConnectionTermination "DC" "The client closed its connection before the end.";
    UpstreamRetryLimitExceeded "URX" "Every try that was allowed failed.";
    StreamIdleTimeout "SI" "Nothing moved for longer than the stream idle timeout.";
    InvalidEnvoyRequestHeaders "IH" "A control field of the request was invalid.";
    DownstreamProtocolError "DPE" "The client broke the protocol.";
    UpstreamMaxStreamDurationReached "UMSDR" "The longest duration of a stream was reached upstream.";
    ResponseFromCacheFilter "RFCF" "The response came from a cache.";
    NoFilterConfigFound "NFCF" "A filter had no config.";
    DurationTimeout "DT" "The longest duration of a request or connection was reached.";
    UpstreamProtocolError "UPE" "The endpoint broke the protocol.";
    NoClusterFound "NC" "The route's cluster does not exist.";
    OverloadManagerTerminated "OM" "The process was overloaded.";
    DnsResolutionFailed "DF" "The endpoint's name could not be resolved.";
    DropOverload "DO" "Dropped by the cluster's share of load to drop.";
    DownstreamRemoteReset "DR" "The client reset the stream.";
    UnconditionalDropOverload "UDO" "Dropped because all load is to be dropped.";
}

/// The table of docs/access-log.md.
pub fn markdown() -> String {
    let mut flags = Flag::ALL.to_vec();
    flags.sort_by_key(|flag| flag.short());
    let row = |flag: &Flag| format!("| `{}` | `{}` | {} |\n", flag.short(), flag.long(), flag.meaning());
    let head = "| flag | long | meaning |\n|---|---|---|\n".to_owned();
    flags.iter().map(row).fold(head, |page, row| page + &row) + "\n"
}

/// A set of flags.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub struct Flags(u32);

impl Flags {
    pub const NONE: Flags = Flags(0);

    #[must_use]
    pub const fn with(self, flag: Flag) -> Flags {
        Flags(self.0 | 1 << flag as u32)
    }

    pub fn set(&mut self, flag: Flag) {
        *self = self.with(flag);
    }

    pub const fn has(self, flag: Flag) -> bool {
        self.0 & 1 << flag as u32 != 0
    }

    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    pub fn iter(self) -> impl Iterator<Item = Flag> {
        Flag::ALL.iter().copied().filter(move |&flag| self.has(flag))
    }
}

impl From<Flag> for Flags {
    fn from(flag: Flag) -> Flags {
        Flags::NONE.with(flag)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_are_few_enough_for_the_set_and_their_letters_are_unique() {
        assert!(Flag::ALL.len() <= 32);
        let shorts: std::collections::HashSet<_> = Flag::ALL.iter().map(|flag| flag.short()).collect();
        assert_eq!(shorts.len(), Flag::ALL.len());
        let all = Flag::ALL.iter().fold(Flags::NONE, |set, &flag| set.with(flag));
        assert_eq!(all.iter().count(), Flag::ALL.len());
        assert!(Flags::from(Flag::NoRouteFound).has(Flag::NoRouteFound));
        assert!(!Flags::from(Flag::NoRouteFound).has(Flag::UpstreamOverflow));
    }
}
