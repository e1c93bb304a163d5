use super::*;
use crate::stats::{ClusterStat, ServerStat};

const OTHER: &str = "  - { name: app, endpoints: ['127.0.0.1:9003'] }\n";

#[test]
fn a_reload_reaches_every_core_and_keeps_what_stays() {
    let process = Process::start(&config(APP), Vec::new());
    process.registry.cluster("app").lane(0).inc(ClusterStat::UpstreamRqTotal);
    process.write(&config(OTHER));
    assert_eq!(process.ask("POST", "/config/reload"), (200, "config version 2 is in use\n".into()));
    assert_eq!(process.endpoints(), ["127.0.0.1:9003"]);
    let told = process.told();
    assert_eq!(told.snapshots.iter().map(|snapshot| snapshot.version).collect::<Vec<_>>(), [1, 2]);
    let stats = &told.snapshots[1].clusters[0].stats;
    assert!(Arc::ptr_eq(stats, &told.snapshots[0].clusters[0].stats), "counters live on");
    assert_eq!(stats.sum(ClusterStat::UpstreamRqTotal), 1);
    assert_eq!(stats.sum(ClusterStat::MembershipChange), 2);
    assert_eq!(stats.sum(ClusterStat::MembershipTotal), 1);
    assert_eq!(process.registry.server().sum(ServerStat::ConfigReloadSuccess), 1);
}

#[test]
fn a_refused_config_says_why_and_the_old_one_stays() {
    let process = Process::start(&config(APP), Vec::new());
    process.write(&config(OTHER).replace("cluster: app", "cluster: ap"));
    let (status, why) = process.ask("POST", "/config/reload");
    assert_eq!(status, 400);
    assert!(why.contains("corelane.yaml:5:") && why.contains("did you mean `app`?"), "{why}");
    assert_eq!(process.told().snapshots.len(), 1);
    assert_eq!(process.registry.server().sum(ServerStat::ConfigReloadFailure), 1);
    assert!(process.get("/clusters").contains("app::127.0.0.1:9001::"));
    process.write(&config(OTHER));
    assert_eq!(process.ask("POST", "/config/reload").0, 200);
}

#[test]
fn a_log_that_cannot_be_opened_refuses_the_config() {
    let process = Process::start(&config(APP), Vec::new());
    let path = process.path("missing/access.log");
    process.write(&format!("access_log: {}\n{}", path.display(), config(APP)));
    let (status, why) = process.ask("POST", "/config/reload");
    assert_eq!(status, 400);
    assert!(why.starts_with(&format!("access log {}: ", path.display())), "{why}");
    assert_eq!(process.told().snapshots.len(), 1);
}

#[test]
fn an_address_that_somebody_else_has_refuses_the_config() {
    let stranger = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = stranger.local_addr().unwrap();
    let taken = config(APP).replace("    address: 127.0.0.1:0", &format!("    address: {address}"));
    let process = Process::start(&config(APP), Vec::new());
    process.write(&taken);
    let (status, why) = process.ask("POST", "/config/reload");
    assert_eq!(status, 400);
    assert!(why.starts_with(&format!("listener web can't have {address}: ")), "{why}");
    drop(stranger);
    assert_eq!(process.ask("POST", "/config/reload").0, 200);
}

#[test]
fn a_core_that_fails_is_reported() {
    let process = Process::start(&config(APP), Vec::new());
    process.told().failing = Some("listener web: no more file descriptors");
    let (status, why) = process.ask("POST", "/config/reload");
    assert_eq!(status, 400);
    let expected = "config version 2 is not wholly in use:\ncore 0: listener web: no more file descriptors\n\
                    core 1: listener web: no more file descriptors\n";
    assert_eq!(why, expected);
}

#[test]
fn a_start_that_fails_says_why_and_stops_the_cores() {
    let Err(why) = Process::try_start(&config(APP), Vec::new(), Some("no memory"), None) else { panic!("started") };
    assert!(why.contains("core 1: no memory"), "{why}");
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    let text = config(APP).replacen("127.0.0.1:0", &address.to_string(), 1);
    let Err(why) = Process::try_start(&text, Vec::new(), None, None) else { panic!("started") };
    assert!(why.starts_with(&format!("admin address {address}: ")), "{why}");
}

#[test]
fn a_changed_file_is_taken_up_however_it_was_changed() {
    let process = Process::start(&config(APP), Vec::new());
    let version = |n: usize| wait_for("a rollout", || process.told().snapshots.len() == n);
    process.write(&config(OTHER)); // in place
    version(2);
    std::fs::write(process.path("new"), config(APP)).unwrap();
    std::fs::rename(process.path("new"), process.path("corelane.yaml")).unwrap(); // an editor
    version(3);
    // A mounted config map: the file is a link through a link to a folder, and the inner link is swapped.
    for (folder, text) in [("one", config(OTHER)), ("two", config(APP))] {
        std::fs::create_dir(process.path(folder)).unwrap();
        std::fs::write(process.path(folder).join("corelane.yaml"), text).unwrap();
    }
    let link = |to: &str| {
        std::os::unix::fs::symlink(to, process.path("..data_tmp")).unwrap();
        std::fs::rename(process.path("..data_tmp"), process.path("..data")).unwrap();
    };
    link("one");
    std::os::unix::fs::symlink("..data/corelane.yaml", process.path("link")).unwrap();
    std::fs::rename(process.path("link"), process.path("corelane.yaml")).unwrap();
    version(4);
    link("two");
    version(5);
    assert_eq!(process.endpoints().len(), 2);
    assert_eq!(process.registry.server().sum(ServerStat::ConfigReloadFailure), 0);
}
