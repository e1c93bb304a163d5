//! What the kernel says of the process's memory.

/// Bytes; zero where the kernel doesn't say.
#[derive(Default, Debug)]
pub(super) struct Memory {
    pub(super) resident_bytes: u64,
    /// Resident and not of a file: heap, stacks, buffers.
    pub(super) anonymous_bytes: u64,
    /// The same with what has been swapped out.
    pub(super) heap_bytes: u64,
}

pub(super) fn read() -> Memory {
    parse(&std::fs::read_to_string("/proc/self/status").unwrap_or_default())
}

fn parse(status: &str) -> Memory {
    let bytes = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
        line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok().map(|kib| kib * 1024)
    };
    Memory {
        resident_bytes: bytes("VmRSS").unwrap_or(0),
        anonymous_bytes: bytes("RssAnon").unwrap_or(0),
        heap_bytes: bytes("RssAnon").unwrap_or(0) + bytes("VmSwap").unwrap_or(0),
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_kernels_lines_are_read() {
        let memory = super::parse("Name:\tx\nVmRSS:\t   12 kB\nRssAnon:\t       3 kB\nVmSwap:\t 1 kB\n");
        assert_eq!((memory.resident_bytes, memory.anonymous_bytes, memory.heap_bytes), (12_288, 3_072, 4_096));
        assert!(super::read().resident_bytes > 0);
    }
}
