//! One life of one shell: from its order to its end.

use std::future::Future;
use std::net::{Ipv4Addr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use quorate::net::Net;
use quorate::seal::KeyringSource;
use quorate::serve::{
    Answering, End, Ground, Medium, Outside, ServeSettings, StartError, start_in,
};
use quorate::store::{Store, StoreError};
use quorate_core::node::{Answer, Call, Image, Settings};

use super::file;
use super::frayed::Frayed;
use super::tap::Tap;
use super::{Yard, lock};
use crate::world::elsewhere::Ended;

/// Runs the shell that was ordered on `machine` until it ends; does nothing if none was.
pub async fn live<N: Net>(net: N, yard: Yard, machine: usize) {
    let ordered = lock(&yard.0.starts).remove(&machine);
    let Some((number, seed)) = ordered else { return };
    let net = Frayed::new(net, yard.clone(), machine);
    let Some((settings, wall_us)) = yard.with(|world| {
        let now = world.now();
        let host = world.machines.get_mut(machine).expect("an index of a machine stays valid");
        host.open_folder();
        (host.settings.clone(), host.fresh_life(now).0)
    }) else {
        return;
    };
    let disk = lock(&yard.0.disks).get(&machine).cloned();
    let disk = disk.map(|disk| Disk { disk, yard: yard.clone(), machine });
    let medium = disk.map(|disk| Box::new(disk) as Box<dyn Medium>);
    let ground = Ground { seed, wall_us, medium };
    let advertised = settings.membership.address;
    let outside = Calls { net: net.clone(), yard: yard.clone(), machine };
    let process = (machine, number);
    let taps = yard.clone();
    let boot = move |settings, incarnation, image: &Image, seed, now| {
        Tap::boot(taps, process, settings, incarnation, image, seed, now)
    };
    let started = start_in(net, serve(settings, advertised), ground, boot, Arc::new(outside)).await;
    let how = match started {
        Ok(mut running) => {
            lock(&yard.0.handles).insert(machine, (number, running.handle.clone()));
            ended(running.ended().await)
        }
        Err(StartError::Store(error @ StoreError::Write(_))) => Ended::Store(error.to_string()),
        Err(error) => Ended::Wrong(format!("a shell does not start: {error}")),
    };
    lock(&yard.0.ended).push((machine, number, how));
}

fn ended(end: End) -> Ended {
    match end {
        End::Left | End::Duplicate { .. } => Ended::Well,
        End::Store(error) => Ended::Store(error.to_string()),
        End::Halted => {
            Ended::Wrong(format!("a shell ended for no reason; {}", crate::run::last_panic()))
        }
    }
}

/// Simulated networks bind to no address of their own, but to all.
fn serve(node: Settings, advertised: SocketAddr) -> ServeSettings {
    ServeSettings {
        node,
        data: None,
        listen: SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), advertised.port()),
        advertise: Some(advertised),
        keyring: KeyringSource::default(),
        insecure: true,
        tls: None,
        worker_keys: Default::default(),
        credentials: None,
        record: None,
    }
}

/// The disk of a machine, as its shell's store sees it.
struct Disk {
    disk: file::Disk,
    yard: Yard,
    machine: usize,
}

impl Medium for Disk {
    fn open(&self) -> Result<(Store, Image), StoreError> {
        self.disk.open()
    }

    fn delay(&mut self) -> Duration {
        let took = self.yard.with(|world| world.sync_elsewhere(self.machine));
        Duration::from_micros(took.unwrap_or_default())
    }

    fn settled(&mut self) {
        self.disk.settle();
    }
}

/// What is beyond the peers of a machine.
struct Calls<N: Net> {
    net: Frayed<N>,
    yard: Yard,
    machine: usize,
}

impl<N: Net> Outside for Calls<N> {
    fn answer(&self, call: Call) -> Answering {
        let told = self.yard.with(|world| world.answer(self.machine, call));
        let Some((took, answer)) = told else { return Box::pin(std::future::pending()) };
        let net = self.net.clone();
        let at = net.now() + Duration::from_micros(took);
        let waiting: Pin<Box<dyn Future<Output = Answer> + Send>> = Box::pin(async move {
            net.sleep_until(at).await;
            answer
        });
        waiting
    }
}
