use super::*;

#[test]
fn cores_count_apart_and_readers_see_the_sum() {
    let registry = Registry::new(2);
    let block = registry.cluster("app");
    let lanes = [block.lane(0), block.lane(1), block.control_lane()];
    for (n, lane) in lanes.iter().enumerate() {
        lane.add(ClusterStat::UpstreamRqTotal, n as u64 + 1);
        lane.status(503);
        lane.status(299); // no code of its own
        lane.status(700); // no class either
    }
    lanes[0].gauge_inc(ClusterStat::UpstreamCxActive);
    lanes[0].gauge_inc(ClusterStat::UpstreamCxActive);
    lanes[1].gauge_dec(ClusterStat::UpstreamCxActive);
    assert_eq!(block.sum(ClusterStat::UpstreamRqTotal), 6);
    assert_eq!(block.sum(ClusterStat::UpstreamCxActive), 1);
    let value = |name: &str| {
        let entry = Scope::Cluster.entries().iter().find(|entry| entry.name == name).expect("entry");
        block.reading().value(entry.cell)
    };
    assert_eq!((value("upstream_rq_503"), value("upstream_rq_5xx"), value("upstream_rq_2xx")), (3, 3, 3));
}

#[test]
fn a_gauge_caught_between_two_cores_is_zero_not_huge() {
    let block = Block::detached(Scope::Http, "web", 2);
    block.lane(1).gauge_dec(HttpStat::DownstreamRqActive);
    assert_eq!(block.sum(HttpStat::DownstreamRqActive), 0);
}

#[test]
fn a_histogram_keeps_buckets_and_sum_and_leaves_its_neighbours_alone() {
    let block = Block::detached(Scope::Http, "web", 1);
    let lane = block.lane(0);
    for value_us in [400, 700, 700, 4_000_000_000] {
        lane.observe_us(HttpStat::DownstreamRqTime, value_us);
    }
    let summary = block.summary(HttpStat::DownstreamRqTime);
    assert_eq!((summary.buckets[0], summary.buckets[1], summary.buckets[19]), (1, 2, 1));
    assert_eq!(summary.sum_us, 4_000_001_800);
    assert_eq!(block.sum(HttpStat::DownstreamRqHttp2Total), 0);
    assert_eq!(block.sum(HttpStat::DownstreamCxTxBytesTotal), 0);
}

#[test]
fn a_block_lives_as_long_as_a_snapshot_or_a_core_holds_it() {
    let registry = Registry::new(1);
    let block = registry.cluster("app");
    let lane = block.lane(0);
    lane.inc(ClusterStat::UpstreamRqTotal);
    drop(block);
    assert_eq!(registry.retire_unused(), 0, "a core still counts");
    assert_eq!(registry.cluster("app").sum(ClusterStat::UpstreamRqTotal), 1, "found again with its value");
    drop(lane);
    assert_eq!(registry.retire_unused(), 1);
    assert_eq!(registry.cluster("app").sum(ClusterStat::UpstreamRqTotal), 0);
    assert_eq!(registry.server().scope(), Scope::Server);
}

#[test]
fn a_reset_zeroes_counters_for_readers_and_keeps_gauges() {
    let registry = Registry::new(1);
    let block = registry.http("web");
    let lane = block.lane(0);
    lane.add(HttpStat::DownstreamRqTotal, 7);
    lane.gauge_inc(HttpStat::DownstreamRqActive);
    lane.observe_us(HttpStat::DownstreamRqTime, 100);
    registry.reset_counters();
    assert_eq!(block.sum(HttpStat::DownstreamRqTotal), 0);
    assert_eq!(block.summary(HttpStat::DownstreamRqTime).count(), 0);
    assert_eq!(block.sum(HttpStat::DownstreamRqActive), 1);
    lane.inc(HttpStat::DownstreamRqTotal);
    assert_eq!(block.sum(HttpStat::DownstreamRqTotal), 1);
}

#[test]
fn a_listener_is_named_by_its_address() {
    let registry = Registry::new(1);
    assert_eq!(registry.listener("0.0.0.0:8080".parse().expect("address")).name(), "0.0.0.0_8080");
    assert_eq!(registry.listener("[::1]:80".parse().expect("address")).name(), "[__1]_80");
}
