//! Overload of the process: one scope without a name.

use super::stats;

stats! {
    /// `overload.`
    OverloadStat in Overload {
        DescriptorsPressure Gauge "descriptors.pressure" "Open descriptors, in percent of the process's limit (own).";
        MemoryPressure Gauge "memory.pressure" "Memory in use, in percent of the tightest bound there is (own).";
        EnvoyOverloadActionsDisableHttpKeepaliveActive Gauge "envoy.overload_actions.disable_http_keepalive.active" "1 while responses end their connections.";
        EnvoyOverloadActionsDisableHttpKeepaliveEntered Counter "envoy.overload_actions.disable_http_keepalive.entered" "Times that this began (own).";
        EnvoyOverloadActionsStopAcceptingConnectionsActive Gauge "envoy.overload_actions.stop_accepting_connections.active" "1 while no connection is accepted.";
        EnvoyOverloadActionsStopAcceptingConnectionsEntered Counter "envoy.overload_actions.stop_accepting_connections.entered" "Times that this began (own).";
        EnvoyOverloadActionsStopAcceptingRequestsActive Gauge "envoy.overload_actions.stop_accepting_requests.active" "1 while requests are refused with 503.";
        EnvoyOverloadActionsStopAcceptingRequestsEntered Counter "envoy.overload_actions.stop_accepting_requests.entered" "Times that this began (own).";
    }
}
