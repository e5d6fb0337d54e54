//! Time per run of each case, by criterion: `cargo bench --bench hot_path`. A batch reports leads per second too.
//! Time depends on the machine and its neighbours; for a number that repeats see `instructions`.

mod cases;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};

fn hot_path(criterion: &mut Criterion) {
    for case in cases::all() {
        let mut group = criterion.benchmark_group("hot_path");
        if case.leads > 1 {
            group.throughput(Throughput::Elements(case.leads));
        }
        let (name, mut run) = (case.name.clone(), case.ready());
        group.bench_function(name, |bencher| bencher.iter(&mut run));
        group.finish();
    }
}

criterion_group!(benches, hot_path);
criterion_main!(benches);
