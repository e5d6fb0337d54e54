//! Reader, workers, writer.
//!
//! Work is dealt to the workers in turn and collected in the same turn, so that it is in order again without a
//! buffer to sort it in. Every queue is short: who is ahead waits.

use std::{
    sync::mpsc::{Receiver, SyncSender, sync_channel},
    thread::{self, JoinHandle},
};

/// Pieces of work that wait before a worker, and behind it.
const QUEUE: usize = 1;

/// Why not everything was worked off.
#[derive(Debug, PartialEq)]
pub(super) enum Stop<E> {
    /// The source or the sink failed.
    Failed(E),
    /// A worker or the source panicked.
    Panicked,
}

/// One worker, seen from outside.
struct Worker<U, E> {
    results: Receiver<Result<U, E>>,
    thread: JoinHandle<()>,
}

/// Takes everything from `source` through workers, one for each thread, into `sink`, in order. The sink runs here. Where it
/// fails, the threads end with their next piece of work, and are not waited for: the source may be a pipe that says
/// nothing more.
pub(super) fn run<T, U, E, W>(
    source: impl Iterator<Item = Result<T, E>> + Send + 'static,
    workers: Vec<W>,
    mut sink: impl FnMut(U) -> Result<(), E>,
) -> Result<(), Stop<E>>
where
    T: Send + 'static,
    U: Send + 'static,
    E: Send + 'static,
    W: FnMut(T) -> U + Send + 'static,
{
    let (doors, mut workers): (Vec<_>, Vec<_>) = workers.into_iter().map(start).unzip();
    let reader = thread::spawn(move || {
        // A closed door means that nobody wants the results.
        let _ = source.zip(doors.iter().cycle()).try_for_each(|(work, door)| door.send(work));
    });
    let mut turn = 0;
    while let Some(worker) = workers.get(turn) {
        let Ok(result) = worker.results.recv() else { break };
        result.and_then(&mut sink).map_err(Stop::Failed)?;
        turn = (turn + 1) % workers.len();
    }
    // The one whose turn it is has ended: it panicked, or the reader did, or nothing is left. A panic leaves something out,
    // and the reader may not have heard of it yet.
    if turn < workers.len() && workers.swap_remove(turn).thread.join().is_err() {
        return Err(Stop::Panicked);
    }
    reader.join().map_err(|_| Stop::Panicked)
}

type Door<T, E> = SyncSender<Result<T, E>>;

fn start<T, U, E, W>(mut work: W) -> (Door<T, E>, Worker<U, E>)
where
    T: Send + 'static,
    U: Send + 'static,
    E: Send + 'static,
    W: FnMut(T) -> U + Send + 'static,
{
    let (door, waiting) = sync_channel::<Result<T, E>>(QUEUE);
    let (done, results) = sync_channel(QUEUE);
    let thread = thread::spawn(move || {
        let _ = waiting.iter().try_for_each(|piece| done.send(piece.map(&mut work)));
    });
    (door, Worker { results, thread })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(
        source: Vec<Result<u32, &'static str>>,
        threads: usize,
        until: usize,
        expected: &Result<(), Stop<&'static str>>,
    ) -> Vec<u32> {
        let workers =
            vec![|x: u32| if x == 666 { panic!("as a defect of ours would") } else { x * 2 }; threads];
        let mut got = Vec::new();
        let sink = |x| {
            got.push(x);
            if got.len() == until { Err("full") } else { Ok(()) }
        };
        assert_eq!(run(source.into_iter(), workers, sink), *expected);
        got
    }

    #[test]
    fn results_come_in_order_from_any_number_of_threads() {
        for threads in [1, 2, 3, 8] {
            for len in [0, 1, 2, 7, 100] {
                let got = check((0..len).map(Ok).collect(), threads, usize::MAX, &Ok(()));
                assert_eq!(got, (0..len).map(|x| x * 2).collect::<Vec<_>>());
            }
        }
    }

    #[test]
    fn a_failure_comes_in_its_turn_and_ends_the_run() {
        let broken = |at: u32| (0..at).map(Ok).chain([Err("torn")]).chain((0..9).map(Ok)).collect();
        for threads in [1, 3] {
            for at in [0, 1, 5] {
                let got = check(broken(at), threads, usize::MAX, &Err(Stop::Failed("torn")));
                assert_eq!(got.len(), at as usize);
            }
            assert_eq!(check((0..99).map(Ok).collect(), threads, 3, &Err(Stop::Failed("full"))), [0, 2, 4]);
        }
    }

    #[test]
    fn a_panic_is_never_taken_for_the_end() {
        for threads in [1, 2, 3] {
            let source: Vec<_> = [1, 2, 3, 666, 4, 5, 6, 7, 8].map(Ok).into();
            assert_eq!(check(source, threads, usize::MAX, &Err(Stop::Panicked)), [2, 4, 6]);
        }
    }

    #[test]
    fn a_source_that_panics_is_never_taken_for_the_end() {
        let source =
            (0..9).map(|x| if x == 5 { panic!("as a defect of ours would") } else { Ok::<u32, &str>(x) });
        let mut got = 0;
        let sink = |_| {
            got += 1;
            Ok(())
        };
        assert_eq!(run(source, vec![|x: u32| x; 2], sink), Err(Stop::Panicked));
        assert_eq!(got, 5);
    }

    #[test]
    fn a_source_that_says_nothing_more_does_not_hold_up_a_sink_that_failed() {
        let (keep, never) = std::sync::mpsc::channel::<Result<u32, &str>>();
        keep.send(Ok(1)).unwrap();
        let stopped = run(never.into_iter(), vec![|x: u32| x], |_| Err("full"));
        assert_eq!(stopped, Err(Stop::Failed("full")));
        drop(keep);
    }
}
