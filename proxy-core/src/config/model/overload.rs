//! What the process does when it runs out of something.

use crate::config::diagnostics::Diagnostic;
use crate::config::reader::Reader;
use crate::config::record::record;
use crate::config::values::{ByteCount, Int};
use crate::config::yaml::Node;

record! {
    /// What the process does when it runs out of descriptors or memory. Pressure is the larger of two percentages: open
    /// descriptors of the process's limit, and memory of the tightest bound there is. Each step ends by itself once
    /// pressure is 5 points below where it began.
    pub struct Overload as "overload", "the overload settings", "overload settings";
    check check_overload;
    {
        /// Resident memory that counts as all there is, beside the bounds of the process's control groups (version 2,
        /// `memory.max`, without the page cache).
        memory_max: Option<ByteCount<0x100_0000, { u64::MAX >> 1 }>> = optional,
        /// From this pressure on responses end their connections, and idle connections are closed as in a drain. 0 is
        /// never.
        disable_keepalive_percent: Int<0, 100> = "90",
        /// From this pressure on connections aren't accepted; they wait in the kernel's queue. 0 is never.
        stop_accepting_percent: Int<0, 100> = "95",
        /// From this pressure on requests are refused with 503. 0 is never.
        shed_requests_percent: Int<0, 100> = "98",
    }
}

fn check_overload(overload: &Overload, node: &Node, reader: &mut Reader<'_>) {
    let steps = [
        ("disable_keepalive_percent", overload.disable_keepalive_percent.0),
        ("stop_accepting_percent", overload.stop_accepting_percent.0),
        ("shed_requests_percent", overload.shed_requests_percent.0),
    ];
    let mut steps = steps.into_iter().filter(|(_, percent)| *percent > 0);
    let Some(mut before) = steps.next() else { return };
    for step in steps {
        if step.1 < before.1 {
            let span = node.get(step.0).or_else(|| node.get(before.0)).map_or(node.span, |field| field.span);
            let message = format!("`{}` ({}) is below `{}` ({})", step.0, step.1, before.0, before.1);
            reader.push(Diagnostic::error(span, message).expected("steps that follow each other, or 0 for never"));
        }
        before = step;
    }
}
