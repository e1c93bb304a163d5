//! Counter pages over several lanes.

use runtime::counters::Page;

#[test]
fn parts_below_zero_sum_to_the_true_gauge() {
    let page = Page::new(2, 20);
    page.add(0, 17, 3);
    page.sub(1, 17, 2);
    assert_eq!(page.sum(17), 1);
    assert_eq!(page.sum(16), 0);
}

#[test]
fn every_count_of_two_writers_is_seen_by_the_reader() {
    let page = Page::new(2, 1);
    std::thread::scope(|scope| {
        for lane in 0..2 {
            let page = &page;
            scope.spawn(move || (0..100_000).for_each(|_| page.add(lane, 0, 1)));
        }
    });
    assert_eq!(page.sum(0), 200_000);
}
