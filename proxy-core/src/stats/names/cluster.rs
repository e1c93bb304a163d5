//! Upstream side: clusters and their endpoints.

use super::stats;

stats! {
    /// `cluster.<name>.`
    ClusterStat in Cluster {
        UpstreamRqTotal Counter "upstream_rq_total" "Requests sent to the cluster, tries included.";
        UpstreamRqActive Gauge "upstream_rq_active" "Requests under way at the cluster.";
        UpstreamRqCompleted Counter "upstream_rq_completed" "Responses with a final status.";
        UpstreamCxRxBytesTotal Counter "upstream_cx_rx_bytes_total" "Bytes received from endpoints.";
        UpstreamCxTxBytesTotal Counter "upstream_cx_tx_bytes_total" "Bytes sent to endpoints.";
        UpstreamRqTime Histogram "upstream_rq_time" "Time from a request's dispatch to the end of its response, in milliseconds.";
        UpstreamRqPendingTotal Counter "upstream_rq_pending_total" "Requests that waited for a connection.";
        UpstreamRqPendingActive Gauge "upstream_rq_pending_active" "Requests waiting for a connection.";
        UpstreamRqPendingOverflow Counter "upstream_rq_pending_overflow" "Requests refused because too many waited for a connection or were under way.";
        UpstreamRqActiveOverflow Counter "upstream_rq_active_overflow" "Requests refused because too many were under way.";
        UpstreamRqPendingFailureEject Counter "upstream_rq_pending_failure_eject" "Requests failed because the connection that they waited for failed.";
        UpstreamRqCancelled Counter "upstream_rq_cancelled" "Requests given up by the client before a connection was there.";
        UpstreamRqMaintenanceMode Counter "upstream_rq_maintenance_mode" "Requests answered 503 because the cluster is in maintenance.";
        UpstreamRqTimeout Counter "upstream_rq_timeout" "Requests that took longer than the route's timeout.";
        UpstreamRqPerTryTimeout Counter "upstream_rq_per_try_timeout" "Tries that took longer than the timeout of one try.";
        UpstreamRqPerTryIdleTimeout Counter "upstream_rq_per_try_idle_timeout" "Tries without a byte for longer than the idle timeout of one try.";
        UpstreamRqMaxDurationReached Counter "upstream_rq_max_duration_reached" "Requests cut off at the longest duration of a stream.";
        UpstreamRqRxReset Counter "upstream_rq_rx_reset" "Requests reset by the endpoint.";
        UpstreamRqTxReset Counter "upstream_rq_tx_reset" "Requests reset by us.";
        UpstreamRqRetry Counter "upstream_rq_retry" "Requests tried again.";
        UpstreamRqRetrySuccess Counter "upstream_rq_retry_success" "Requests that succeeded when tried again.";
        UpstreamRqRetryOverflow Counter "upstream_rq_retry_overflow" "Requests not tried again because too many retries were under way.";
        UpstreamRqRetryLimitExceeded Counter "upstream_rq_retry_limit_exceeded" "Requests not tried again because all their tries were used up.";
        UpstreamRqRetryBackoffExponential Counter "upstream_rq_retry_backoff_exponential" "Retries after an exponential pause.";
        UpstreamRqRetryBackoffRatelimited Counter "upstream_rq_retry_backoff_ratelimited" "Retries after a pause that the endpoint asked for.";
        UpstreamCxTotal Counter "upstream_cx_total" "Connections opened to endpoints.";
        UpstreamCxActive Gauge "upstream_cx_active" "Open connections to endpoints.";
        UpstreamCxIdle Gauge "upstream_cx_idle" "Open connections that wait in a pool for a request (own).";
        UpstreamCxReused Counter "upstream_cx_reused" "Requests sent on a connection that had served one before (own).";
        UpstreamCxHttp1Total Counter "upstream_cx_http1_total" "HTTP/1 connections opened.";
        UpstreamCxHttp2Total Counter "upstream_cx_http2_total" "HTTP/2 connections opened.";
        UpstreamCxHttp3Total Counter "upstream_cx_http3_total" "HTTP/3 connections opened.";
        UpstreamCxConnectFail Counter "upstream_cx_connect_fail" "Connection attempts that failed.";
        UpstreamCxConnectTimeout Counter "upstream_cx_connect_timeout" "Connection attempts that took longer than the connect timeout.";
        UpstreamCxConnectAttemptsExceeded Counter "upstream_cx_connect_attempts_exceeded" "TCP sessions given up after the last connect attempt.";
        UpstreamCxIdleTimeout Counter "upstream_cx_idle_timeout" "Connections closed because they were idle.";
        UpstreamCxMaxDurationReached Counter "upstream_cx_max_duration_reached" "Connections closed at their longest life.";
        UpstreamCxOverflow Counter "upstream_cx_overflow" "Times that no connection could be opened because the cluster had too many.";
        UpstreamCxPoolOverflow Counter "upstream_cx_pool_overflow" "Times that no pool could be made because the cluster had too many.";
        UpstreamCxNoneHealthy Counter "upstream_cx_none_healthy" "Requests and sessions refused because no endpoint was healthy.";
        UpstreamCxDestroy Counter "upstream_cx_destroy" "Connections closed.";
        UpstreamCxDestroyLocal Counter "upstream_cx_destroy_local" "Connections closed by us.";
        UpstreamCxDestroyRemote Counter "upstream_cx_destroy_remote" "Connections closed by the endpoint.";
        UpstreamCxDestroyWithActiveRq Counter "upstream_cx_destroy_with_active_rq" "Connections closed with a request under way.";
        UpstreamCxDestroyLocalWithActiveRq Counter "upstream_cx_destroy_local_with_active_rq" "Connections closed by us with a request under way.";
        UpstreamCxDestroyRemoteWithActiveRq Counter "upstream_cx_destroy_remote_with_active_rq" "Connections closed by the endpoint with a request under way.";
        UpstreamCxCloseNotify Counter "upstream_cx_close_notify" "Connections closed after the endpoint announced it.";
        UpstreamCxMaxRequests Counter "upstream_cx_max_requests" "Connections closed after as many requests as one may carry.";
        UpstreamCxProtocolError Counter "upstream_cx_protocol_error" "Connections closed because the endpoint broke the protocol.";
        Http2KeepaliveTimeout Counter "http2.keepalive_timeout" "HTTP/2 connections given up because the endpoint did not answer a PING.";
        UpstreamCxConnectMs Histogram "upstream_cx_connect_ms" "Time to open a connection, in milliseconds.";
        UpstreamCxLengthMs Histogram "upstream_cx_length_ms" "Life of a connection, in milliseconds.";
        UpstreamFlowControlPausedReadingTotal Counter "upstream_flow_control_paused_reading_total" "Times that we stopped reading from an endpoint.";
        UpstreamFlowControlResumedReadingTotal Counter "upstream_flow_control_resumed_reading_total" "Times that we read on from an endpoint.";
        UpstreamFlowControlBackedUpTotal Counter "upstream_flow_control_backed_up_total" "Times that an endpoint took data too slowly and its client was paused.";
        UpstreamFlowControlDrainedTotal Counter "upstream_flow_control_drained_total" "Times that a slow endpoint caught up and its client was read again.";
        UpstreamInternalRedirectFailedTotal Counter "upstream_internal_redirect_failed_total" "Redirects that could not be followed.";
        UpstreamInternalRedirectSucceededTotal Counter "upstream_internal_redirect_succeeded_total" "Redirects followed.";
        UpstreamHttp1HeadTooLarge Counter "upstream_http1_head_too_large" "Responses refused because their head was over a limit (own).";
        UpstreamRqBodyIncomplete Counter "upstream_rq_body_incomplete" "Responses whose connection ended before their body did (own).";
        SslConnectionError Counter "ssl.connection_error" "Handshakes that failed, for reasons other than certificates.";
        SslHandshake Counter "ssl.handshake" "Handshakes that were completed.";
        SslSessionReused Counter "ssl.session_reused" "Handshakes that resumed an earlier session.";
        SslNoCertificate Counter "ssl.no_certificate" "Connections whose peer showed no certificate.";
        SslFailVerifyNoCert Counter "ssl.fail_verify_no_cert" "Handshakes that failed because a certificate was demanded and none was shown.";
        SslFailVerifyError Counter "ssl.fail_verify_error" "Handshakes that failed because the peer's certificate could not be verified.";
        SslFailVerifySan Counter "ssl.fail_verify_san" "Handshakes that failed because none of the certificate's names was allowed.";
        SslVersionsTLSv12 Counter "ssl.versions.TLSv1.2" "Connections with TLS 1.2.";
        SslVersionsTLSv13 Counter "ssl.versions.TLSv1.3" "Connections with TLS 1.3.";
        SslHandshakeTimeout Counter "ssl.handshake_timeout" "Handshakes given up because they took too long (own).";
        SslErrorNotTls Counter "ssl.error.not_tls" "Handshakes that began with something else than TLS (own).";
        SslErrorUnknownCa Counter "ssl.error.unknown_ca" "Certificates of an authority that isn't trusted (own).";
        SslErrorExpired Counter "ssl.error.expired" "Certificates out of date (own).";
        SslErrorBadName Counter "ssl.error.bad_name" "Certificates for another name (own).";
        SslErrorRevoked Counter "ssl.error.revoked" "Certificates revoked, or not covered by a valid revocation list (own).";
        SslErrorBadCertificate Counter "ssl.error.bad_certificate" "Certificates that can't be read or used (own).";
        SslErrorNoSharedVersion Counter "ssl.error.no_shared_version" "Handshakes without a version of TLS in common (own).";
        SslErrorNoSharedCipher Counter "ssl.error.no_shared_cipher" "Handshakes without a cipher, key exchange or signature in common (own).";
        SslErrorNoSharedAlpn Counter "ssl.error.no_shared_alpn" "Handshakes without a protocol in common (own).";
        SslErrorPeerAlert Counter "ssl.error.peer_alert" "Connections that the peer gave up with an alert (own).";
        SslErrorHandshakeEof Counter "ssl.error.handshake_eof" "Handshakes during which the peer closed the connection (own).";
        SslErrorTruncated Counter "ssl.error.truncated" "Connections that the peer closed without saying that its data is complete (own).";
        SslErrorProtocol Counter "ssl.error.protocol" "Connections whose peer broke the protocol (own).";
        SslErrorInternal Counter "ssl.error.internal" "Connections that failed by our own doing (own).";
        BindErrors Counter "bind_errors" "Errors when binding a connection to its source address.";
        RetryOrShadowAbandoned Counter "retry_or_shadow_abandoned" "Retries and copies given up because the body was too large to keep.";
        MembershipChange Counter "membership_change" "Times that the set of endpoints changed.";
        MembershipHealthy Gauge "membership_healthy" "Healthy endpoints.";
        MembershipDegraded Gauge "membership_degraded" "Degraded endpoints.";
        MembershipExcluded Gauge "membership_excluded" "Endpoints left out of the count of health.";
        MembershipTotal Gauge "membership_total" "Endpoints.";
        MaxHostWeight Gauge "max_host_weight" "Largest weight of an endpoint.";
        UpdateAttempt Counter "update_attempt" "Tries to update the endpoints (resolutions of their names).";
        UpdateSuccess Counter "update_success" "Updates of the endpoints that succeeded.";
        UpdateFailure Counter "update_failure" "Updates of the endpoints that failed.";
        UpdateEmpty Counter "update_empty" "Updates of the endpoints that brought none.";
        UpdateLeftOut Counter "update_left_out" "Addresses left out of updates, because a name has more than 1024, or nobody can be reached at them (own).";
        UpdateNoRebuild Counter "update_no_rebuild" "Updates of the endpoints that changed nothing.";
        UpdateDuration Histogram "update_duration" "Time that an update of the endpoints took, in milliseconds.";
        LbHealthyPanic Counter "lb_healthy_panic" "Picks among all endpoints because too few were healthy.";
        CircuitBreakersDefaultCxOpen Gauge "circuit_breakers.default.cx_open" "Cores at their share of the bound on connections.";
        CircuitBreakersDefaultCxPoolOpen Gauge "circuit_breakers.default.cx_pool_open" "Cores at their share of the bound on pools.";
        CircuitBreakersDefaultRqPendingOpen Gauge "circuit_breakers.default.rq_pending_open" "Cores at their share of the bound on waiting requests.";
        CircuitBreakersDefaultRqOpen Gauge "circuit_breakers.default.rq_open" "Cores at their share of the bound on requests.";
        CircuitBreakersDefaultRqRetryOpen Gauge "circuit_breakers.default.rq_retry_open" "Cores at their share of the bound on retries.";
        GrpcTotal Counter "grpc.total" "Calls of gRPC that ended.";
        GrpcSuccess Counter "grpc.success" "Calls that ended with `grpc-status` 0.";
        GrpcFailure Counter "grpc.failure" "Calls that ended with another, or without.";
        Grpc0 Counter "grpc.0" "Calls that ended with `grpc-status` 0 (OK).";
        Grpc1 Counter "grpc.1" "Calls that ended with `grpc-status` 1 (CANCELLED).";
        Grpc2 Counter "grpc.2" "Calls that ended with `grpc-status` 2 (UNKNOWN).";
        Grpc3 Counter "grpc.3" "Calls that ended with `grpc-status` 3 (INVALID_ARGUMENT).";
        Grpc4 Counter "grpc.4" "Calls that ended with `grpc-status` 4 (DEADLINE_EXCEEDED).";
        Grpc5 Counter "grpc.5" "Calls that ended with `grpc-status` 5 (NOT_FOUND).";
        Grpc6 Counter "grpc.6" "Calls that ended with `grpc-status` 6 (ALREADY_EXISTS).";
        Grpc7 Counter "grpc.7" "Calls that ended with `grpc-status` 7 (PERMISSION_DENIED).";
        Grpc8 Counter "grpc.8" "Calls that ended with `grpc-status` 8 (RESOURCE_EXHAUSTED).";
        Grpc9 Counter "grpc.9" "Calls that ended with `grpc-status` 9 (FAILED_PRECONDITION).";
        Grpc10 Counter "grpc.10" "Calls that ended with `grpc-status` 10 (ABORTED).";
        Grpc11 Counter "grpc.11" "Calls that ended with `grpc-status` 11 (OUT_OF_RANGE).";
        Grpc12 Counter "grpc.12" "Calls that ended with `grpc-status` 12 (UNIMPLEMENTED).";
        Grpc13 Counter "grpc.13" "Calls that ended with `grpc-status` 13 (INTERNAL).";
        Grpc14 Counter "grpc.14" "Calls that ended with `grpc-status` 14 (UNAVAILABLE).";
        Grpc15 Counter "grpc.15" "Calls that ended with `grpc-status` 15 (DATA_LOSS).";
        Grpc16 Counter "grpc.16" "Calls that ended with `grpc-status` 16 (UNAUTHENTICATED).";
    }
}

stats! {
    /// One endpoint; its names are those of `/clusters`.
    EndpointStat in Endpoint {
        RqTotal Counter "rq_total" "Requests sent to the endpoint.";
        RqActive Gauge "rq_active" "Requests under way at the endpoint.";
        RqSuccess Counter "rq_success" "Responses that were no server error.";
        RqError Counter "rq_error" "Requests that failed or were answered with a server error.";
        RqTimeout Counter "rq_timeout" "Requests that took too long.";
        CxTotal Counter "cx_total" "Connections opened to the endpoint.";
        CxActive Gauge "cx_active" "Open connections to the endpoint.";
        CxConnectFail Counter "cx_connect_fail" "Connection attempts that failed.";
    }
}
