//! What only the operating system can do, and the standard library does not offer: the one place
//! of this crate with `unsafe`.

use std::{io, os::unix::net::UnixStream};

use tokio::{
    io::{Interest, unix::AsyncFd},
    process::Command,
};

/// Has the process killed when the thread that starts it ends: the control thread, which lives as
/// long as the gateway. Plugin servers do not look after that themselves, so that a gateway that
/// was killed would leave them behind, holding their sockets. Nor does it inherit what the gateway
/// set for itself alone.
#[allow(unsafe_code)]
pub(crate) fn die_with_parent(command: &mut Command) {
    let parent = std::process::id();
    // SAFETY: between fork and exec only calls that are safe in a signal handler may be made;
    // prctl and getppid are plain system calls, and nothing is allocated.
    unsafe {
        command.pre_exec(move || {
            if libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) != 0 {
                return Err(io::Error::last_os_error());
            }
            // The parent may have died before that call.
            if u32::try_from(libc::getppid()) != Ok(parent) {
                return Err(io::Error::from_raw_os_error(libc::ECHILD));
            }
            // Our allocator does without huge pages; what a plugin server does is its own affair.
            // A kernel that does not know the switch has not set it either.
            libc::prctl(libc::PR_SET_THP_DISABLE, 0, 0, 0, 0);
            Ok(())
        });
    }
}

/// Sends a signal to all processes of a group. That there are none any more is no error.
#[allow(unsafe_code)]
pub(crate) fn kill_group(group: u32, signal: libc::c_int) {
    // A group of 0 or 1 would be our own or everybody's.
    if let Ok(group @ 2..) = libc::pid_t::try_from(group) {
        // SAFETY: kill takes two numbers and touches no memory of ours.
        unsafe {
            libc::kill(-group, signal);
        }
    }
}

/// Has the runtime tell when a socket is ready for what is of interest. The socket must not block.
#[allow(unsafe_code)]
pub(crate) fn watch(socket: UnixStream, interest: Interest) -> io::Result<AsyncFd<UnixStream>> {
    // SAFETY: a UnixStream owns its descriptor, keeps it open until it is dropped, and always
    // tells the same one; the AsyncFd owns the UnixStream.
    Ok(unsafe { AsyncFd::register_with_interest(socket, interest) }?)
}

/// Whether a process is the leader of that group, or one of it.
pub(crate) fn in_group(pid: u32, group: u32) -> bool {
    if pid == group {
        return true;
    }
    // The third field behind the name, which stands in parentheses and may hold anything.
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let fields = stat.rsplit_once(')').map_or("", |(_, fields)| fields);
    fields.split_whitespace().nth(2).and_then(|field| field.parse().ok()) == Some(group)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::process::shell;

    #[tokio::test]
    async fn a_group_dies_as_a_whole() {
        let mut child = shell("sleep 60 & wait").spawn().expect("a shell");
        let pid = child.id().expect("a pid");
        assert!(in_group(pid, pid));
        assert!(!in_group(std::process::id(), pid));
        kill_group(pid, libc::SIGKILL);
        assert!(!child.wait().await.expect("an end").success());
    }

    #[tokio::test]
    #[allow(unsafe_code)]
    async fn a_server_may_have_huge_pages_where_we_have_none() {
        // SAFETY: a plain system call with numbers, which touches no memory of ours.
        assert_eq!(unsafe { libc::prctl(libc::PR_SET_THP_DISABLE, 1, 0, 0, 0) }, 0);
        let output = shell("grep THP_enabled /proc/self/status").output().await.expect("an end");
        assert_eq!(String::from_utf8_lossy(&output.stdout).split_whitespace().last(), Some("1"));
    }

    #[test]
    fn a_server_dies_with_the_thread_that_started_it() {
        let start = || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            let runtime = runtime.expect("a runtime");
            let _guard = runtime.enter();
            // Without kill_on_drop's help.
            let child = shell("exec sleep 60").kill_on_drop(false).spawn().expect("a shell");
            child.id().expect("a pid")
        };
        let pid = std::thread::spawn(start).join().expect("a pid");
        let began = std::time::Instant::now();
        // Gone, or dead and not yet reaped.
        let lives = || {
            let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
            !stat.is_empty() && !stat.contains(") Z ")
        };
        while lives() {
            assert!(began.elapsed().as_secs() < 5, "it lives on");
            std::thread::sleep(std::time::Duration::from_millis(10));
        }
    }
}
