//! Downstream side: listeners and what they serve.

use super::stats;

stats! {
    /// `listener.<address>.`, where the address is written `0.0.0.0_8080`.
    ListenerStat in Listener {
        DownstreamCxTotal Counter "downstream_cx_total" "Connections accepted.";
        DownstreamCxActive Gauge "downstream_cx_active" "Open connections.";
        DownstreamCxDestroy Counter "downstream_cx_destroy" "Connections closed.";
        DownstreamCxLengthMs Histogram "downstream_cx_length_ms" "Life of a connection, in milliseconds.";
        DownstreamCxOverflow Counter "downstream_cx_overflow" "Connections refused because the listener had too many.";
        DownstreamCxOverloadReject Counter "downstream_cx_overload_reject" "Connections refused because the process was overloaded.";
        DownstreamCxTransportSocketConnectTimeout Counter "downstream_cx_transport_socket_connect_timeout" "Connections whose handshake took too long.";
        DownstreamGlobalCxOverflow Counter "downstream_global_cx_overflow" "Connections refused because the process had too many.";
        DownstreamPreCxActive Gauge "downstream_pre_cx_active" "Connections whose first bytes are awaited.";
        DownstreamPreCxTimeout Counter "downstream_pre_cx_timeout" "Connections whose first bytes took too long.";
        DownstreamCxProxyProtocolError Counter "downstream_cx_proxy_protocol_error" "Connections closed because their PROXY protocol header was bad (own).";
        DownstreamCxHandedOver Counter "downstream_cx_handed_over" "Fresh connections given to a less loaded core (own).";
        DownstreamAcceptError Counter "downstream_accept_error" "Connections that could not be accepted (own).";
        NoFilterChainMatch Counter "no_filter_chain_match" "Connections that nothing was configured for.";
        SslConnectionError Counter "ssl.connection_error" "Handshakes that failed, for reasons other than certificates.";
        SslHandshake Counter "ssl.handshake" "Handshakes that were completed.";
        SslSessionReused Counter "ssl.session_reused" "Handshakes that resumed an earlier session.";
        SslNoCertificate Counter "ssl.no_certificate" "Connections whose peer showed no certificate.";
        SslFailVerifyNoCert Counter "ssl.fail_verify_no_cert" "Handshakes that failed because a certificate was demanded and none was shown.";
        SslFailVerifyError Counter "ssl.fail_verify_error" "Handshakes that failed because the peer's certificate could not be verified.";
        SslFailVerifySan Counter "ssl.fail_verify_san" "Handshakes that failed because none of the certificate's names was allowed.";
        SslFailVerifyCertHash Counter "ssl.fail_verify_cert_hash" "Handshakes that failed because the certificate is none of those that are pinned.";
        SslVersionsTLSv12 Counter "ssl.versions.TLSv1.2" "Connections with TLS 1.2.";
        SslVersionsTLSv13 Counter "ssl.versions.TLSv1.3" "Connections with TLS 1.3.";
        SslCiphersTLSAES128GCMSHA256 Counter "ssl.ciphers.TLS_AES_128_GCM_SHA256" "Connections with this cipher suite.";
        SslCiphersTLSAES256GCMSHA384 Counter "ssl.ciphers.TLS_AES_256_GCM_SHA384" "Connections with this cipher suite.";
        SslCiphersTLSCHACHA20POLY1305SHA256 Counter "ssl.ciphers.TLS_CHACHA20_POLY1305_SHA256" "Connections with this cipher suite.";
        SslCiphersECDHEECDSAAES128GCMSHA256 Counter "ssl.ciphers.ECDHE-ECDSA-AES128-GCM-SHA256" "Connections with this cipher suite.";
        SslCiphersECDHEECDSAAES256GCMSHA384 Counter "ssl.ciphers.ECDHE-ECDSA-AES256-GCM-SHA384" "Connections with this cipher suite.";
        SslCiphersECDHEECDSACHACHA20POLY1305 Counter "ssl.ciphers.ECDHE-ECDSA-CHACHA20-POLY1305" "Connections with this cipher suite.";
        SslCiphersECDHERSAAES128GCMSHA256 Counter "ssl.ciphers.ECDHE-RSA-AES128-GCM-SHA256" "Connections with this cipher suite.";
        SslCiphersECDHERSAAES256GCMSHA384 Counter "ssl.ciphers.ECDHE-RSA-AES256-GCM-SHA384" "Connections with this cipher suite.";
        SslCiphersECDHERSACHACHA20POLY1305 Counter "ssl.ciphers.ECDHE-RSA-CHACHA20-POLY1305" "Connections with this cipher suite.";
        SslCurvesX25519 Counter "ssl.curves.X25519" "Connections with this key exchange.";
        SslCurvesP256 Counter "ssl.curves.P-256" "Connections with this key exchange.";
        SslCurvesP384 Counter "ssl.curves.P-384" "Connections with this key exchange.";
        SslCurvesX25519MLKEM768 Counter "ssl.curves.X25519MLKEM768" "Connections with this key exchange.";
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
        SslCertificateExpirationUnixTimeSeconds Gauge "ssl.certificate.expiration_unix_time_seconds" "When the first of the listener's certificates expires, in seconds since 1970 (own).";
        SniRouted Counter "sni_routed" "Connections passed on by the server name that their client asked for (own).";
        SniHelloBad Counter "sni_hello_bad" "Connections closed because what began as TLS was none (own).";
        PlainOnTls Counter "plain_on_tls" "Connections without TLS on a listener that takes both (own).";
    }
}

stats! {
    /// `http.<prefix>.`
    HttpStat in Http {
        DownstreamRqTotal Counter "downstream_rq_total" "Requests received.";
        DownstreamRqActive Gauge "downstream_rq_active" "Requests under way.";
        DownstreamRqCompleted Counter "downstream_rq_completed" "Requests answered.";
        DownstreamRqHttp1Total Counter "downstream_rq_http1_total" "HTTP/1 requests received.";
        RqTotal Counter "rq_total" "Requests routed.";
        DownstreamCxRxBytesTotal Counter "downstream_cx_rx_bytes_total" "Bytes received from clients.";
        DownstreamCxTxBytesTotal Counter "downstream_cx_tx_bytes_total" "Bytes sent to clients.";
        DownstreamRqTime Histogram "downstream_rq_time" "Time from a request's first byte to the end of its response, in milliseconds.";
        DownstreamRqHttp2Total Counter "downstream_rq_http2_total" "HTTP/2 requests received.";
        DownstreamRqHttp3Total Counter "downstream_rq_http3_total" "HTTP/3 requests received.";
        DownstreamCxTotal Counter "downstream_cx_total" "Connections accepted.";
        DownstreamCxActive Gauge "downstream_cx_active" "Open connections.";
        DownstreamCxHttp1Total Counter "downstream_cx_http1_total" "Connections that began with HTTP/1.";
        DownstreamCxHttp1Active Gauge "downstream_cx_http1_active" "Open HTTP/1 connections, and those that have said nothing yet.";
        DownstreamCxHttp2Total Counter "downstream_cx_http2_total" "HTTP/2 connections accepted.";
        DownstreamCxHttp2Active Gauge "downstream_cx_http2_active" "Open HTTP/2 connections.";
        DownstreamCxHttp3Total Counter "downstream_cx_http3_total" "HTTP/3 connections accepted.";
        DownstreamCxHttp3Active Gauge "downstream_cx_http3_active" "Open HTTP/3 connections.";
        DownstreamCxSslTotal Counter "downstream_cx_ssl_total" "TLS connections accepted.";
        DownstreamCxSslActive Gauge "downstream_cx_ssl_active" "Open TLS connections.";
        DownstreamCxUpgradesTotal Counter "downstream_cx_upgrades_total" "Connections upgraded to another protocol.";
        DownstreamCxUpgradesActive Gauge "downstream_cx_upgrades_active" "Open connections upgraded to another protocol.";
        DownstreamCxDestroy Counter "downstream_cx_destroy" "Connections closed.";
        DownstreamCxDestroyLocal Counter "downstream_cx_destroy_local" "Connections closed by us.";
        DownstreamCxDestroyRemote Counter "downstream_cx_destroy_remote" "Connections closed by the client.";
        DownstreamCxDestroyActiveRq Counter "downstream_cx_destroy_active_rq" "Connections closed with a request under way.";
        DownstreamCxDestroyLocalActiveRq Counter "downstream_cx_destroy_local_active_rq" "Connections closed by us with a request under way.";
        DownstreamCxDestroyRemoteActiveRq Counter "downstream_cx_destroy_remote_active_rq" "Connections closed by the client with a request under way.";
        DownstreamCxProtocolError Counter "downstream_cx_protocol_error" "Connections closed because the client broke the protocol.";
        DownstreamCxLengthMs Histogram "downstream_cx_length_ms" "Life of a connection, in milliseconds.";
        DownstreamCxDrainClose Counter "downstream_cx_drain_close" "Connections closed because we drain.";
        DownstreamCxIdleTimeout Counter "downstream_cx_idle_timeout" "Connections closed because they were idle.";
        DownstreamCxMaxDurationReached Counter "downstream_cx_max_duration_reached" "Connections closed at their longest life.";
        DownstreamCxMaxRequestsReached Counter "downstream_cx_max_requests_reached" "Connections closed after as many requests as one may carry.";
        DownstreamCxOverloadDisableKeepalive Counter "downstream_cx_overload_disable_keepalive" "Connections closed because the process was overloaded.";
        DownstreamCxDelayedCloseTimeout Counter "downstream_cx_delayed_close_timeout" "Connections cut off because the client did not close after its last response.";
        DownstreamFlowControlPausedReadingTotal Counter "downstream_flow_control_paused_reading_total" "Times that we stopped reading from a client.";
        DownstreamFlowControlResumedReadingTotal Counter "downstream_flow_control_resumed_reading_total" "Times that we read on from a client.";
        DownstreamRqRxReset Counter "downstream_rq_rx_reset" "Requests given up by the client.";
        DownstreamRqTxReset Counter "downstream_rq_tx_reset" "Requests reset by us.";
        DownstreamRqTooLarge Counter "downstream_rq_too_large" "Requests refused because their body was too large.";
        DownstreamRqTimeout Counter "downstream_rq_timeout" "Requests whose body took longer than the request timeout.";
        DownstreamRqHeaderTimeout Counter "downstream_rq_header_timeout" "Requests whose head took longer than the header timeout.";
        DownstreamRqIdleTimeout Counter "downstream_rq_idle_timeout" "Exchanges without a byte for longer than the stream idle timeout.";
        DownstreamRqMaxDurationReached Counter "downstream_rq_max_duration_reached" "Exchanges cut off at their longest duration.";
        DownstreamRqOverloadClose Counter "downstream_rq_overload_close" "Requests refused because the process was overloaded.";
        DownstreamRqResponseBeforeRqComplete Counter "downstream_rq_response_before_rq_complete" "Responses that ended before their request did.";
        DownstreamRqNonRelativePath Counter "downstream_rq_non_relative_path" "Requests refused because their path did not begin with a slash.";
        DownstreamRqFailedPathNormalization Counter "downstream_rq_failed_path_normalization" "Requests refused because their path could not be normalized.";
        DownstreamRqRedirectedWithNormalizedPath Counter "downstream_rq_redirected_with_normalized_path" "Requests redirected because their path had escaped slashes.";
        DownstreamRqPathNormalized Counter "downstream_rq_path_normalized" "Requests whose path was changed by normalization (own).";
        DownstreamRqRejectedViaIpDetection Counter "downstream_rq_rejected_via_ip_detection" "Requests refused because their client's address could not be told.";
        DownstreamRqWsOnNonWsRoute Counter "downstream_rq_ws_on_non_ws_route" "Upgrades refused because they are not allowed.";
        DownstreamRqHeadTooLarge Counter "downstream_rq_head_too_large" "Requests refused because their head was over the bytes allowed (own).";
        DownstreamRqTooManyFields Counter "downstream_rq_too_many_fields" "Requests refused because their head had too many fields (own).";
        DownstreamRqLineTooLong Counter "downstream_rq_line_too_long" "Requests refused because their first line was too long (own).";
        DownstreamRqTrailersTooLarge Counter "downstream_rq_trailers_too_large" "Requests refused because their trailers were over a limit (own).";
        DownstreamRqConnectRefused Counter "downstream_rq_connect_refused" "CONNECT requests refused (own).";
        DownstreamRqPipelined Counter "downstream_rq_pipelined" "Requests received before the one before them was answered (own).";
        RsTooLarge Counter "rs_too_large" "Responses refused because they were too large.";
        NoRoute Counter "no_route" "Requests without a route.";
        NoCluster Counter "no_cluster" "Requests whose cluster does not exist.";
        RqDirectResponse Counter "rq_direct_response" "Requests answered by the route itself.";
        RqRedirect Counter "rq_redirect" "Requests redirected by the route.";
        Http2RxReset Counter "http2.rx_reset" "HTTP/2 streams reset by the client.";
        Http2TxReset Counter "http2.tx_reset" "HTTP/2 streams reset by us.";
        Http2RxMessagingError Counter "http2.rx_messaging_error" "HTTP/2 streams reset because the client's message was malformed.";
        Http2KeepaliveTimeout Counter "http2.keepalive_timeout" "HTTP/2 connections closed because the client did not answer a PING.";
        Http2SettingsTimeout Counter "http2.settings_timeout" "HTTP/2 connections closed because the client did not acknowledge our SETTINGS (own).";
        Http2ProtocolError Counter "http2.protocol_error" "HTTP/2 connections ended because the client broke the protocol (own).";
        Http2HeaderOverflow Counter "http2.header_overflow" "HTTP/2 connections ended because a header block was too large.";
        Http2ContinuationFlood Counter "http2.continuation_flood" "HTTP/2 connections ended for header blocks in too many frames (own).";
        Http2ResetFlood Counter "http2.reset_flood" "HTTP/2 connections ended because the client opened and reset too many streams (own).";
        Http2StreamErrorFlood Counter "http2.stream_error_flood" "HTTP/2 connections ended because the client provoked too many resets (own).";
        Http2SettingsFlood Counter "http2.settings_flood" "HTTP/2 connections ended for too many SETTINGS (own).";
        Http2PingFlood Counter "http2.ping_flood" "HTTP/2 connections ended for too many PINGs (own).";
        Http2InboundEmptyFramesFlood Counter "http2.inbound_empty_frames_flood" "HTTP/2 connections ended for too many empty DATA frames.";
        Http2InboundSmallFramesFlood Counter "http2.inbound_small_frames_flood" "HTTP/2 connections ended for too many DATA frames of a few bytes (own).";
        Http2InboundPriorityFramesFlood Counter "http2.inbound_priority_frames_flood" "HTTP/2 connections ended for too many PRIORITY frames.";
        Http2InboundWindowUpdateFramesFlood Counter "http2.inbound_window_update_frames_flood" "HTTP/2 connections ended for too many WINDOW_UPDATE frames.";
        Http2IgnoredFrameFlood Counter "http2.ignored_frame_flood" "HTTP/2 connections ended for too many frames without effect (own).";
        Http2OutboundControlFlood Counter "http2.outbound_control_flood" "HTTP/2 connections ended because the client asked for replies and did not read them.";
        RqResetAfterDownstreamResponseStarted Counter "rq_reset_after_downstream_response_started" "Responses cut off after they had begun.";
    }
}

stats! {
    /// `tcp.<prefix>.`
    TcpStat in Tcp {
        DownstreamCxTotal Counter "downstream_cx_total" "Connections accepted.";
        DownstreamCxActive Gauge "downstream_cx_active" "Open connections (own).";
        DownstreamCxRxBytesTotal Counter "downstream_cx_rx_bytes_total" "Bytes received from clients.";
        DownstreamCxTxBytesTotal Counter "downstream_cx_tx_bytes_total" "Bytes sent to clients.";
        DownstreamCxNoRoute Counter "downstream_cx_no_route" "Connections without a cluster to go to.";
        DownstreamCxDestroyLocal Counter "downstream_cx_destroy_local" "Connections closed by us (own).";
        DownstreamCxDestroyRemote Counter "downstream_cx_destroy_remote" "Connections closed by the client (own).";
        DownstreamCxDrainClose Counter "downstream_cx_drain_close" "Connections cut off at the end of a drain (own).";
        DownstreamFlowControlPausedReadingTotal Counter "downstream_flow_control_paused_reading_total" "Times that we stopped reading from a client.";
        DownstreamFlowControlResumedReadingTotal Counter "downstream_flow_control_resumed_reading_total" "Times that we read on from a client.";
        IdleTimeout Counter "idle_timeout" "Connections closed because nothing moved either way.";
        OverloadClose Counter "overload_close" "Connections reset because a side took nothing while receive buffers were short (own).";
        MaxDownstreamConnectionDuration Counter "max_downstream_connection_duration" "Connections closed at their longest life.";
        UpstreamFlushTotal Counter "upstream_flush_total" "Connections that still sent to the endpoint after the client had closed.";
        UpstreamFlushActive Gauge "upstream_flush_active" "Connections that still send to the endpoint after the client has closed.";
    }
}

impl HttpStat {
    /// The counter of connections that ended for this error.
    pub fn of_http2_error(kind: codecs::http::h2::ErrorKind) -> HttpStat {
        use codecs::http::h2::ErrorKind;
        match kind {
            ErrorKind::HeaderListTooLarge
            | ErrorKind::TooManyFields
            | ErrorKind::PathTooLong
            | ErrorKind::TrailersTooLarge
            | ErrorKind::HeaderBlockTooLarge => HttpStat::Http2HeaderOverflow,
            ErrorKind::ContinuationFlood => HttpStat::Http2ContinuationFlood,
            ErrorKind::TooManyResets => HttpStat::Http2ResetFlood,
            ErrorKind::TooManyStreamErrors => HttpStat::Http2StreamErrorFlood,
            ErrorKind::SettingsFlood => HttpStat::Http2SettingsFlood,
            ErrorKind::PingFlood => HttpStat::Http2PingFlood,
            ErrorKind::EmptyDataFlood => HttpStat::Http2InboundEmptyFramesFlood,
            ErrorKind::SmallDataFlood => HttpStat::Http2InboundSmallFramesFlood,
            ErrorKind::HeadTimeout => HttpStat::DownstreamRqHeaderTimeout,
            ErrorKind::SettingsTimeout => HttpStat::Http2SettingsTimeout,
            ErrorKind::PriorityFlood => HttpStat::Http2InboundPriorityFramesFlood,
            ErrorKind::WindowUpdateFlood => HttpStat::Http2InboundWindowUpdateFramesFlood,
            ErrorKind::IgnoredFrameFlood => HttpStat::Http2IgnoredFrameFlood,
            ErrorKind::TooManyReplies => HttpStat::Http2OutboundControlFlood,
            _ => HttpStat::Http2ProtocolError,
        }
    }
}
