//! Which processors the process may use, and how many cores that makes.

/// Processors that the process may run on (its cpuset and affinity mask), in order.
pub fn allowed_cpus() -> Vec<usize> {
    core_affinity::get_core_ids().unwrap_or_default().into_iter().map(|core| core.id).collect()
}

/// Turns transparent huge pages off for this process. With them every touched 4 KiB of an allocator's arena is resident as
/// 2 MiB: more than the whole proxy needs.
pub extern "C" fn disable_huge_pages() {
    // SAFETY: no pointers. A kernel without the option keeps its default.
    unsafe { libc::prctl(libc::PR_SET_THP_DISABLE, 1, 0, 0, 0) };
}

/// Done before constructors run where the C library knows this list (glibc): an allocator's touches its first pages.
#[used]
// SAFETY: the section is an array of functions that take nothing; this one needs nothing that isn't there yet.
#[unsafe(link_section = ".preinit_array")]
static BEFORE_CONSTRUCTORS: extern "C" fn() = disable_huge_pages;

/// Cores to start by default: the allowed processors, or fewer if the control group's CPU quota is smaller.
pub fn core_count() -> usize {
    let allowed = allowed_cpus().len().max(1);
    quota().map_or(allowed, |quota| allowed.min(quota.ceil().max(1.0) as usize))
}

/// The tightest quota, in processors, of this process's control group and the groups above it (version 2's `cpu.max`,
/// version 1's `cpu.cfs_quota_us`).
fn quota() -> Option<f64> {
    let groups = std::fs::read_to_string("/proc/self/cgroup").ok()?;
    let quotas = groups.lines().flat_map(|line| {
        let mut parts = line.splitn(3, ':').skip(1);
        let (controllers, path) = (parts.next().unwrap_or(""), parts.next().unwrap_or("/"));
        let version_1 = controllers.split(',').any(|controller| controller == "cpu");
        let root = if version_1 { "/sys/fs/cgroup/cpu" } else { "/sys/fs/cgroup" };
        let mut folders: Vec<String> = Vec::new();
        let mut path = path.trim_end_matches('/');
        if version_1 || controllers.is_empty() {
            loop {
                folders.push(format!("{root}{path}"));
                match path.rfind('/') {
                    Some(at) => path = &path[..at],
                    None => break,
                }
            }
        }
        folders.into_iter().filter_map(move |folder| {
            if !version_1 {
                return parse_cpu_max(&std::fs::read_to_string(format!("{folder}/cpu.max")).ok()?);
            }
            let read = |name| std::fs::read_to_string(format!("{folder}/{name}")).ok()?.trim().parse::<f64>().ok();
            let quota = read("cpu.cfs_quota_us")?;
            (quota > 0.0).then_some(quota / read("cpu.cfs_period_us")?)
        })
    });
    quotas.min_by(f64::total_cmp)
}

/// `cpu.max`: "max 100000" or "50000 100000".
fn parse_cpu_max(text: &str) -> Option<f64> {
    let (quota, period) = text.trim().split_once(' ')?;
    let (quota, period): (f64, f64) = (quota.parse().ok()?, period.parse().ok()?);
    (period > 0.0).then_some(quota / period)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quota_of_half_a_processor_still_makes_one_core() {
        assert_eq!(parse_cpu_max("50000 100000\n"), Some(0.5));
        assert_eq!(parse_cpu_max("max 100000\n"), None);
        assert_eq!(parse_cpu_max("junk"), None);
        assert!(core_count() >= 1);
    }
}
