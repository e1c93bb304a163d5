//! The process: one scope without a name.

use super::stats;

stats! {
    /// `server.`
    ServerStat in Server {
        Uptime Gauge "uptime" "Seconds since the start.";
        Live Gauge "live" "1 while the process serves, 0 while it drains.";
        State Gauge "state" "0 live, 1 draining, 2 before initialization, 3 initializing.";
        Concurrency Gauge "concurrency" "Cores in use.";
        WorkersPinned Gauge "workers_pinned" "Cores whose thread is pinned.";
        Version Gauge "version" "Version as one number: major, minor and patch in steps of a thousand.";
        InitializationTimeMs Histogram "initialization_time_ms" "Time from the start to the first accepted connection, in milliseconds.";
        MemoryAllocated Gauge "memory_allocated" "Bytes of memory in use that no file backs.";
        MemoryHeapSize Gauge "memory_heap_size" "The same with what has been swapped out, in bytes.";
        MemoryPhysicalSize Gauge "memory_physical_size" "Bytes of physical memory in use.";
        TotalConnections Gauge "total_connections" "Open client connections over all listeners.";
        ParentConnections Gauge "parent_connections" "Open client connections of a predecessor that hands over.";
        DaysUntilFirstCertExpiring Gauge "days_until_first_cert_expiring" "Days until the first of the certificates in use expires.";
        HotRestartEpoch Gauge "hot_restart_epoch" "Number of hand-overs before this process.";
        ConfigVersion Gauge "config_version" "Version of the config in use, counted up with each accepted one (own).";
        ConfigReloadSuccess Counter "config_reload_success" "Configs accepted after the first (own).";
        ConfigReloadFailure Counter "config_reload_failure" "Configs refused (own).";
        ConfigRollouts Counter "config_rollouts" "Snapshots sent to the cores (own).";
        ConfigRolloutTime Histogram "config_rollout_time" "Time until every core had taken over a snapshot, in milliseconds (own).";
        TotalListenersActive Gauge "total_listeners_active" "Listeners of the config in use (own).";
        TotalListenersDraining Gauge "total_listeners_draining" "Listeners that accept no more (own).";
        ActiveClusters Gauge "active_clusters" "Clusters of the config in use (own).";
        AccessLogWritten Counter "access_log.written" "Access log lines written (own).";
        AccessLogWrittenBytes Counter "access_log.written_bytes" "Bytes of access log lines written (own).";
        AccessLogDropped Counter "access_log.dropped" "Access log lines dropped because the writer was behind (own).";
        AccessLogWriteFailed Counter "access_log.write_failed" "Writes to an access log that failed (own).";
        AccessLogReopened Counter "access_log.reopened" "Times that an access log file was opened again (own).";
        DnsQueries Counter "dns.queries" "Resolutions of endpoint names (own).";
        DnsFailures Counter "dns.failures" "Resolutions of endpoint names that failed (own).";
        WatchdogMiss Counter "watchdog_miss" "Times that a core had not got round for 200 ms.";
        WatchdogMegaMiss Counter "watchdog_mega_miss" "Times that a core had not got round for a second.";
        LoopTurns Counter "loop.turns" "Turns of the event loops (own).";
        LoopCompletionOverflow Counter "loop.completion_overflow" "Times that the kernel's completion queue ran over (own).";
        LoopBuffersExhausted Counter "loop.buffers_exhausted" "Times that receiving stopped because no buffer was free (own).";
        LoopTurnOverrun Counter "loop.turn_overrun" "Turns that kept other work waiting for too long (own).";
        LoopReceiveBuffers Gauge "loop.receive_buffers" "Receive buffers of 64 KiB that the cores have (own).";
        LoopReceiveBuffersInUse Gauge "loop.receive_buffers_in_use" "Those of them that hold something (own).";
        LoopSockets Gauge "loop.sockets" "Sockets of the cores, closing ones included (own).";
        LoopTasks Gauge "loop.tasks" "Tasks of the cores that have not ended (own).";
        AdminRequests Counter "admin.requests" "Requests to the admin address (own).";
    }
}
