//! gRPC with TLS on both sides: Python's grpcio as client and as server (`tests/grpcio.py`).

use crate::bodies::dotted;
use crate::certificates::Ca;
use crate::ops::program::{Program, python};
use crate::ops::{free_address, wait_until};
use crate::peers::start;

on_both_drivers!(grpcio_calls_in_every_way_with_tls_on_both_sides);

fn grpcio_calls_in_every_way_with_tls_on_both_sides(driver: &str) {
    let (ca, web, origin) = (Ca::new(), free_address(), free_address());
    let site = ca.issue("site", &["site.test"]);
    let mut command = python("grpcio.py");
    command.args(["serve", &origin.to_string()]).args([&site.chain, &site.key]);
    let server = Program::start(command);
    assert_eq!(server.line(), "ready");
    let (pem, certificate) = (ca.pem().display().to_string(), site.config());
    let proxy = start(
        driver,
        &format!(
            "listeners:\n  - name: web\n    address: '{web}'\n    tls: {{ certificates: {certificate} }}\n    http:\n\
            \x20     routes:\n\
            \x20       - {{ match: {{ exact: /t.T/Slow }}, cluster: app, timeout: 1s }}\n\
            \x20       - {{ match: {{ prefix: / }}, cluster: app }}\n\
             clusters:\n  - {{ name: app, protocol: http2, endpoints: ['{origin}'], tls: {{ ca: '{pem}', sni: site.test }} }}\n"
        ),
    );
    let call = |what: &str| {
        let output =
            python("grpcio.py").args(["call", &web.to_string(), what, &pem]).output().expect("the client runs");
        assert!(output.status.success(), "{what}: {}", String::from_utf8_lossy(&output.stderr));
    };
    call("unary");
    call("streams");
    wait_until("all calls to be counted", || proxy.stat("cluster.app.grpc.0") == 204);
    call("large");
    call("deadline");
    assert_eq!([server.line(), server.line()], ["cancelled", "cancelled"]);
    call("cancel");
    assert_eq!(server.line(), "cancelled");
    let handshakes = proxy.stat(&format!("listener.{}.ssl.handshake", dotted(web)));
    assert_eq!((handshakes, proxy.stat("http.web.downstream_cx_http2_total")), (5, 5), "one a scenario");
    assert!(proxy.stat("cluster.app.ssl.handshake") > 0);
}
