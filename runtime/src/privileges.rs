//! Giving up what a process was started with: its user, its capabilities, the way back.
//!
//! All of it belongs to threads, not to the process, and new threads inherit it. So it is done while there is one thread
//! only; then it holds for every thread to come, and no way to synchronise them is needed.

use std::ffi::CString;
use std::io;
use std::mem::MaybeUninit;

/// Who to go on as.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    pub user: u32,
    pub group: u32,
    /// Supplementary groups.
    pub groups: Vec<u32>,
}

/// The right to bind ports below `net.ipv4.ip_unprivileged_port_start` (capabilities(7)).
const CAP_NET_BIND_SERVICE: u32 = 10;
/// Longest entry of the user database that is read, bytes; entries of large groups grow with their members.
const ENTRY_BYTES_MAX: usize = 1024 * 1024;
/// As many groups as a process can have (NGROUPS_MAX).
const GROUPS_MAX: usize = 65_536;

impl Identity {
    /// Looks up names, or takes numbers, which need not have an entry. Without `group` it is the user's.
    ///
    /// # Errors
    /// In words: nobody has that name, a number without an entry came without a group, or it is root.
    pub fn find(user: &str, group: Option<&str>) -> Result<Identity, String> {
        let entry = find_user(user).map_err(|error| format!("user `{user}` can't be looked up: {error}"))?;
        let number = match (&entry, user.parse::<u32>()) {
            (Some(entry), _) => entry.number,
            (None, Ok(number)) => number,
            (None, Err(_)) => return Err(format!("there is no user `{user}`")),
        };
        let group = match (group, &entry) {
            (Some(group), _) => find_group(group)?,
            (None, Some(entry)) => entry.group,
            (None, None) => return Err(format!("user {user} has no entry, and so no group: name one with `--group`")),
        };
        if number == 0 || number == u32::MAX {
            return Err(format!("user `{user}` is {number}: expected one that isn't root"));
        }
        let groups = match &entry {
            Some(entry) => groups_of(&entry.name, group),
            None => vec![group],
        };
        Ok(Identity { user: number, group, groups })
    }
}

struct User {
    name: CString,
    number: u32,
    group: u32,
}

/// Calls a `…_r` function of the C library with more and more room until the entry fits; false: there is none.
fn look_up(mut call: impl FnMut(&mut [libc::c_char]) -> (libc::c_int, bool)) -> io::Result<bool> {
    let mut room = vec![0; 4096];
    loop {
        match call(&mut room) {
            (0, found) => return Ok(found),
            (libc::ERANGE, _) if room.len() < ENTRY_BYTES_MAX => room.resize(room.len() * 4, 0),
            // What the C library may say when there is no entry (getpwnam(3)).
            (libc::ENOENT | libc::ESRCH, _) => return Ok(false),
            (errno, _) => return Err(io::Error::from_raw_os_error(errno)),
        }
    }
}

fn find_user(user: &str) -> io::Result<Option<User>> {
    let name = CString::new(user)?;
    let number = user.parse::<u32>().ok();
    // SAFETY: all-zero bytes are a valid passwd.
    let mut entry: libc::passwd = unsafe { MaybeUninit::zeroed().assume_init() };
    let mut found = None;
    look_up(|room| {
        let mut result = std::ptr::null_mut();
        // SAFETY: the name ends with a zero; the other pointers describe locals and their length.
        let errno = unsafe {
            match number {
                Some(number) => {
                    libc::getpwuid_r(number, &raw mut entry, room.as_mut_ptr(), room.len(), &raw mut result)
                }
                None => libc::getpwnam_r(name.as_ptr(), &raw mut entry, room.as_mut_ptr(), room.len(), &raw mut result),
            }
        };
        if !result.is_null() {
            // SAFETY: the entry was filled in; its name is a text in `room`, which lives until this closure ends.
            let name = unsafe { std::ffi::CStr::from_ptr(entry.pw_name) }.to_owned();
            found = Some(User { name, number: entry.pw_uid, group: entry.pw_gid });
        }
        (errno, !result.is_null())
    })?;
    Ok(found)
}

fn find_group(group: &str) -> Result<u32, String> {
    if let Ok(number) = group.parse::<u32>() {
        return if number == u32::MAX { Err(format!("{number} is no group")) } else { Ok(number) };
    }
    let name = CString::new(group).map_err(|_| format!("there is no group `{group}`"))?;
    // SAFETY: all-zero bytes are a valid group.
    let mut entry: libc::group = unsafe { MaybeUninit::zeroed().assume_init() };
    let found = look_up(|room| {
        let mut result = std::ptr::null_mut();
        // SAFETY: the name ends with a zero; the other pointers describe locals and their length.
        let errno =
            unsafe { libc::getgrnam_r(name.as_ptr(), &raw mut entry, room.as_mut_ptr(), room.len(), &raw mut result) };
        (errno, !result.is_null())
    });
    match found {
        Ok(true) => Ok(entry.gr_gid),
        Ok(false) => Err(format!("there is no group `{group}`")),
        Err(error) => Err(format!("group `{group}` can't be looked up: {error}")),
    }
}

/// A user's supplementary groups, `group` among them.
fn groups_of(user: &std::ffi::CStr, group: u32) -> Vec<u32> {
    let mut groups = vec![0; 64];
    loop {
        let mut count = groups.len() as libc::c_int;
        // SAFETY: the name ends with a zero; the pointers describe locals, `count` the room for groups.
        let fits = unsafe { libc::getgrouplist(user.as_ptr(), group, groups.as_mut_ptr(), &raw mut count) } >= 0;
        if fits || groups.len() >= GROUPS_MAX {
            groups.truncate(count.max(0) as usize);
            return groups;
        }
        groups.resize((groups.len() * 4).min(GROUPS_MAX), 0);
    }
}

fn check(what: &str, result: libc::c_int) -> io::Result<libc::c_int> {
    if result >= 0 {
        return Ok(result);
    }
    let error = io::Error::last_os_error();
    Err(io::Error::new(error.kind(), format!("{what}: {error}")))
}

fn prctl(what: &str, option: libc::c_int, argument: libc::c_ulong) -> io::Result<libc::c_int> {
    // SAFETY: none of the options used here takes a pointer.
    check(what, unsafe { libc::prctl(option, argument, 0 as libc::c_ulong, 0 as libc::c_ulong, 0 as libc::c_ulong) })
}

/// No program that this process starts can gain privileges, by set-user-ID or file capabilities (PR_SET_NO_NEW_PRIVS).
/// For this thread and those that it starts from now on. There is no way back.
///
/// # Errors
/// The system's; no kernel since 3.5 has one.
pub fn forbid_new_privileges() -> io::Result<()> {
    prctl("PR_SET_NO_NEW_PRIVS", libc::PR_SET_NO_NEW_PRIVS, 1).map(drop)
}

/// Goes on as somebody else without any capability, or with the right to bind low ports alone (`keep_bind`), and makes
/// sure that there is no way back. To be called while the process has one thread.
///
/// # Errors
/// There are more threads, or a right is missing (CAP_SETUID, CAP_SETGID, CAP_SETPCAP); or the old user could be had
/// back. What had been done by then stays done: end the process.
pub fn become_user(identity: &Identity, keep_bind: bool) -> io::Result<()> {
    let threads = std::fs::read_dir("/proc/self/task").map_or(1, Iterator::count);
    if threads > 1 {
        return Err(io::Error::other(format!("privileges are given up with one thread, there are {threads}")));
    }
    let kept: u64 = if keep_bind { 1 << CAP_NET_BIND_SERVICE } else { 0 };
    bound_capabilities(kept)?;
    // Otherwise the change of user takes the permitted ones, too.
    prctl("PR_SET_KEEPCAPS", libc::PR_SET_KEEPCAPS, libc::c_ulong::from(keep_bind))?;
    let (user, group) = (identity.user, identity.group);
    // SAFETY: pointer and length describe a slice.
    check("setgroups", unsafe { libc::setgroups(identity.groups.len(), identity.groups.as_ptr()) })?;
    // SAFETY: no pointers.
    check("setresgid", unsafe { libc::setresgid(group, group, group) })?;
    // SAFETY: no pointers.
    check("setresuid", unsafe { libc::setresuid(user, user, user) })?;
    set_capabilities(kept)?;
    prctl("PR_SET_KEEPCAPS", libc::PR_SET_KEEPCAPS, 0)?;
    verify(identity, kept)
}

/// Takes all capabilities but the kept ones out of the bounding set, which bounds what a program that is started gets.
fn bound_capabilities(kept: u64) -> io::Result<()> {
    for capability in 0..64 {
        // SAFETY: no pointers.
        match unsafe { libc::prctl(libc::PR_CAPBSET_READ, capability as libc::c_ulong) } {
            // The kernel knows no more.
            -1 => return Ok(()),
            1 if kept >> capability & 1 == 0 => {
                prctl("PR_CAPBSET_DROP (CAP_SETPCAP is needed)", libc::PR_CAPBSET_DROP, capability as libc::c_ulong)?;
            }
            _ => {}
        }
    }
    Ok(())
}

/// Header and sets of capset(2), version 3: the low halves of all sets come first.
#[repr(C)]
struct CapabilityHeader {
    version: u32,
    pid: i32,
}

#[repr(C)]
#[derive(Clone, Copy, Default, PartialEq)]
struct CapabilitySets {
    effective: u32,
    permitted: u32,
    inheritable: u32,
}

const CAPABILITY_VERSION_3: u32 = 0x2008_0522;

fn halves(kept: u64) -> [CapabilitySets; 2] {
    [kept as u32, (kept >> 32) as u32].map(|half| CapabilitySets { effective: half, permitted: half, inheritable: 0 })
}

/// Nothing stays inheritable, and with that nothing ambient (capabilities(7)).
fn set_capabilities(kept: u64) -> io::Result<()> {
    let mut header = CapabilityHeader { version: CAPABILITY_VERSION_3, pid: 0 };
    let sets = halves(kept);
    // SAFETY: both pointers describe structs of the kernel's layout; version 3 has two halves.
    check("capset", unsafe { libc::syscall(libc::SYS_capset, &raw mut header, sets.as_ptr()) } as libc::c_int).map(drop)
}

fn verify(identity: &Identity, kept: u64) -> io::Result<()> {
    let (mut users, mut groups) = ([0; 3], [0; 3]);
    let ([a, b, c], [d, e, f]) = (&mut users, &mut groups);
    // SAFETY: the pointers are to locals.
    check("getresuid", unsafe { libc::getresuid(a, b, c) })?;
    // SAFETY: as above.
    check("getresgid", unsafe { libc::getresgid(d, e, f) })?;
    let mut header = CapabilityHeader { version: CAPABILITY_VERSION_3, pid: 0 };
    let mut sets = [CapabilitySets::default(); 2];
    // SAFETY: both pointers describe structs of the kernel's layout; version 3 has two halves.
    check("capget", unsafe { libc::syscall(libc::SYS_capget, &raw mut header, sets.as_mut_ptr()) } as libc::c_int)?;
    // SAFETY: no pointers. It must not succeed; nothing else is lost if it does, since the process ends then.
    let back = unsafe { libc::setresuid(0, 0, 0) } == 0;
    if back || users != [identity.user; 3] || groups != [identity.group; 3] || sets != halves(kept) {
        return Err(io::Error::other("privileges were not given up for good"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_numbers_are_found() {
        let nobody = Identity::find("nobody", None).expect("every system has one");
        assert_eq!(Identity::find(&nobody.user.to_string(), None), Ok(nobody.clone()));
        assert!(nobody.groups.contains(&nobody.group), "{nobody:?}");
        let other = Identity::find("nobody", Some("4321")).expect("a number will do");
        assert_eq!((other.user, other.group), (nobody.user, 4321));
        let numbers = Identity { user: 54_321, group: 12_345, groups: vec![12_345] };
        assert_eq!(Identity::find("54321", Some("12345")), Ok(numbers));
    }

    #[test]
    fn what_is_no_user_is_refused_with_the_reason() {
        for (user, group, reason) in [
            ("no-such-user", None, "no user `no-such-user`"),
            ("54321", None, "--group"),
            ("root", None, "isn't root"),
            ("0", Some("1"), "isn't root"),
            ("4294967295", Some("1"), "isn't root"),
            ("nobody", Some("no-such-group"), "no group `no-such-group`"),
            ("nobody", Some("4294967295"), "is no group"),
            ("no\0body", None, "can't be looked up"),
        ] {
            let refused = Identity::find(user, group).expect_err(user);
            assert!(refused.contains(reason), "{user}: {refused}");
        }
    }

    #[test]
    fn a_process_of_several_threads_is_left_as_it_is() {
        // Tests run on threads beside the main one.
        let nobody = Identity::find("nobody", None).expect("every system has one");
        let refused = become_user(&nobody, false).expect_err("there are threads");
        assert!(refused.to_string().contains("one thread"), "{refused}");
        // SAFETY: no pointers.
        assert_ne!(unsafe { libc::geteuid() }, nobody.user);
    }
}
