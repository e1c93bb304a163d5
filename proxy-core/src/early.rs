//! What has to be done while the process has one thread and the rights that it was started with: taking inherited sockets,
//! binding ports, giving up the rights. Threads inherit what is left, so this is the only place that knows of them.

use std::net::{SocketAddr, TcpListener};
use std::path::Path;

use runtime::{Identity, Prepared};

use crate::cli::Process;
use crate::config::{self, Model};
use crate::control::Held;

/// What the process goes on with.
pub struct Early {
    pub model: Model,
    /// For each core.
    pub sockets: Vec<Vec<Prepared>>,
    /// The same for the control thread.
    pub held: Held,
}

/// `path`: where the model came from and comes from again.
///
/// # Errors
/// Why the process can't start, in words.
pub fn begin(model: Model, path: Option<&Path>, process: &Process, cores: usize) -> Result<Early, String> {
    let mut sockets: Vec<Vec<Prepared>> = (0..cores).map(|_| Vec::new()).collect();
    let mut held = Held::default();
    for socket in runtime::inherited()? {
        held.inherited.push(socket.address());
        for sockets in &mut sockets {
            let share = socket.share().map_err(|error| format!("inherited {}: {error}", socket.address()))?;
            sockets.push(share);
        }
    }
    let Some(user) = &process.user else {
        forbid_new_privileges(process)?;
        return Ok(Early { model, sockets, held });
    };
    let identity = Identity::find(user, process.group.as_deref()).map_err(|why| format!("--user: {why}"))?;
    held.admin = Some(bind_admin(model.admin.address.0)?);
    for listener in model.listeners.iter().filter(|listener| !held.inherited.contains(&listener.address.0)) {
        let (name, address) = (&listener.name.0, listener.address.0);
        let refused = |error| format!("listener {name} can't have {address}: {error}");
        runtime::try_address(address).map_err(refused)?;
        for sockets in &mut sockets {
            let socket = Prepared::bind(address, listener.backlog.u32()).map_err(refused)?;
            socket.give_to(&identity).map_err(refused)?;
            sockets.push(socket);
        }
        held.bound.push(address);
    }
    runtime::become_user(&identity, process.keep_bind)
        .map_err(|error| format!("--user {user}: {error} (it needs a start as root)"))?;
    forbid_new_privileges(process)?;
    // What a reload couldn't read a start doesn't go by either: better to hear of it now.
    let model = match path {
        Some(path) => config::load(path)
            .map_err(|mistakes| format!("user `{user}` can't load the config, so no reload could:\n{mistakes}"))?,
        None => model,
    };
    Ok(Early { model, sockets, held })
}

fn forbid_new_privileges(process: &Process) -> Result<(), String> {
    if process.allow_new_privileges {
        return Ok(());
    }
    runtime::forbid_new_privileges().map_err(|error| error.to_string())
}

fn bind_admin(address: SocketAddr) -> Result<TcpListener, String> {
    let bound = TcpListener::bind(address).and_then(|admin| {
        admin.set_nonblocking(true)?;
        Ok(admin)
    });
    bound.map_err(|error| format!("admin address {address}: {error}"))
}
