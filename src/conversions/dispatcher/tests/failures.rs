//! Platforms that take nothing for a while, or do not answer: when they are asked again, and what becomes too old.

use tokio::time::sleep;

use super::*;
use crate::conversions::Integration;

fn busy(_: &Told) -> Reply {
    Reply::Answer(503, String::new())
}

/// Between the requests that a platform got.
fn gaps(told: &[Told]) -> Vec<Duration> {
    told.windows(2).map(|pair| between(pair[0].at, pair[1].at)).collect()
}

#[test]
fn pauses_grow_from_a_second_to_five_minutes_and_are_random() {
    let integrations = [platform("meta"), platform("tiktok")];
    simulate(&integrations, busy, async |world| {
        for integration in &integrations {
            world.queue(integration, [0]).await;
        }
        world.pass(Duration::from_hours(6)).await;
        let gaps = integrations.each_ref().map(|integration| {
            let told: Vec<Told> =
                world.told().into_iter().filter(|told| told.url.starts_with(&integration.base_url)).collect();
            gaps(&told)
        });
        for gaps in &gaps {
            for (failures, gap) in gaps.iter().enumerate() {
                let most = seconds(1 << failures.min(9)).min(seconds(300));
                assert!(*gap <= most + millis(110), "{gap:?} after {failures} failures before");
            }
            let late = &gaps[9..];
            assert!(late.len() > 6 * 10, "{} requests in six hours", late.len());
            assert!(late.iter().any(|gap| *gap > seconds(270)), "never as long as it may be");
            assert!(late.iter().any(|gap| *gap < seconds(150)), "always nearly as long as it may be");
        }
        let same = gaps[0].iter().zip(&gaps[1]).filter(|(one, other)| one == other).count();
        assert!(same < 5, "{same} pauses are the same for two platforms");
        assert_eq!(world.left().await, (2, 0));
        world.answer(taken);
        sleep(seconds(301)).await;
        assert_eq!(world.left().await, (0, 0));
    });
}

#[test]
fn what_failed_together_is_not_tried_again_at_one_moment() {
    let integration = platform("meta");
    let mut first = true;
    let script = move |told: &Told| if std::mem::take(&mut first) { busy(told) } else { taken(told) };
    simulate(from_ref(&integration), script, async |world| {
        world.queue(&integration, 0..200).await;
        sleep(seconds(3)).await;
        let told = world.told();
        assert_eq!(told[0].ids.len(), 200);
        let most = told[1..].iter().map(|told| told.ids.len()).max().unwrap();
        assert!(told.len() > 5 && most < 100, "{} requests, one of {most}", told.len());
        assert_eq!(world.left().await, (0, 0));
    });
}

/// Has a platform ask for time once, and gives when it was asked again within some time.
fn asked_again(asks: &str, within: Duration) -> Duration {
    let integration = platform("tiktok");
    let mut asks = Some(asks.to_owned());
    let script = move |told: &Told| asks.take().map_or_else(|| taken(told), |asks| Reply::Later(429, asks));
    let mut again = Duration::ZERO;
    simulate(from_ref(&integration), script, async |world| {
        world.queue(&integration, [0]).await;
        sleep(seconds(10)).await;
        // What comes meanwhile waits as well.
        world.queue(&integration, [1]).await;
        world.pass(within).await;
        let told = world.told();
        assert!(told.len() >= 2, "it was not asked again");
        assert_eq!(world.left().await, (0, 0));
        assert!(world.counts().values().sum::<usize>() == 3);
        again = between(told[0].at, told[1].at);
    });
    again
}

#[test]
fn a_platform_is_waited_for_as_long_as_it_asks_and_a_day_at_most() {
    let cases = [
        ("120", seconds(120)),
        // Two minutes from the beginning, less the time that was gathered.
        ("Wed, 18 Nov 2026 11:08:40 GMT", millis(119_900)),
        ("7200", Duration::from_hours(2)),
        ("99999999999", Duration::from_hours(24)),
        ("Wed, 18 Nov 2099 11:06:40 GMT", Duration::from_hours(24)),
    ];
    for (asks, wait) in cases {
        let again = asked_again(asks, wait);
        assert!(again >= wait && again <= wait + millis(300), "{asks}: {again:?}");
    }
}

#[test]
fn a_moment_that_has_passed_or_none_that_reads_ends_no_pause() {
    for asks in ["0", "Wed, 18 Nov 2026 11:06:00 GMT", "soon", "-5"] {
        let again = asked_again(asks, seconds(1));
        assert!(again <= millis(1_110), "{asks}: {again:?}");
    }
}

#[test]
fn a_platform_that_never_answers_is_asked_again_and_not_by_all_at_once() {
    let integration = platform("webhook");
    simulate(
        from_ref(&integration),
        |_| Reply::Never,
        async |world| {
            world.queue(&integration, 0..500).await;
            sleep(millis(14_900)).await;
            let waits = world.told().len();
            assert!(waits <= super::super::REQUESTS, "{waits} requests under way");
            sleep(Duration::from_mins(2)).await;
            assert!(world.told().len() > waits, "it was not asked again");
            assert_eq!(world.left().await, (500, 0));
            world.answer(taken);
            sleep(Duration::from_mins(6)).await;
            assert_eq!(world.left().await, (0, 0));
            assert_eq!(world.counts().len(), 500);
        },
    );
}

#[test]
fn one_that_is_not_answered_is_told_again_after_the_time_limit() {
    let integration = platform("meta");
    let mut first = true;
    let script = move |told: &Told| if std::mem::take(&mut first) { Reply::Never } else { taken(told) };
    simulate(from_ref(&integration), script, async |world| {
        world.queue(&integration, [0]).await;
        sleep(seconds(20)).await;
        let gaps = gaps(&world.told());
        assert!(gaps.len() == 1 && gaps[0] >= seconds(15) && gaps[0] <= millis(16_110), "{gaps:?}");
        assert_eq!(world.left().await, (0, 0));
    });
}

#[test]
fn after_a_defect_of_ours_events_wait_like_those_that_failed() {
    let integration = platform("meta");
    let mut first = true;
    let script = move |told: &Told| if std::mem::take(&mut first) { Reply::Defect } else { taken(told) };
    simulate(from_ref(&integration), script, async |world| {
        world.queue(&integration, 0..10).await;
        sleep(seconds(1)).await;
        assert_eq!(world.left().await, (10, 0));
        world.queue(&integration, [10]).await;
        sleep(seconds(1)).await;
        assert_eq!(world.left().await, (10, 0), "the next one waits as well");
        sleep(seconds(30)).await;
        assert_eq!(world.left().await, (0, 0));
        assert_eq!(world.told().len(), 3);
    });
}

#[test]
fn a_platform_that_is_down_is_asked_seldom_however_much_waits() {
    let integration = platform("webhook");
    let down = |told: &Told| Reply::Late(millis(200), Box::new(busy(told)));
    simulate(from_ref(&integration), down, async |world| {
        world.queue(&integration, 0..2_000).await;
        world.pass(Duration::from_mins(30)).await;
        let before = world.told().len();
        world.pass(Duration::from_hours(1)).await;
        // Twelve times at least, and a few each time before the first answer is there.
        let requests = world.told().len() - before;
        assert!((12..=800).contains(&requests), "{requests} in an hour");
        assert_eq!(world.left().await, (2_000, 0));
        world.answer(taken);
        sleep(Duration::from_mins(12)).await;
        assert_eq!(world.left().await, (0, 0));
    });
}

#[test]
fn a_platform_that_never_answers_holds_up_no_other() {
    let integrations = [platform("webhook"), platform("meta")];
    let script = |told: &Told| if told.url.contains("crm") { Reply::Never } else { taken(told) };
    simulate(&integrations, script, async |world| {
        world.queue(&integrations[0], 0..200).await;
        sleep(seconds(10)).await;
        let came = world.now();
        world.queue(&integrations[1], [0]).await;
        sleep(seconds(1)).await;
        let told = world.told().into_iter().find(|told| told.url.contains("facebook")).unwrap();
        assert!(between(came, told.at) < millis(100), "{:?}", told.at);
    });
}

#[test]
fn large_events_are_not_all_held_at_once() {
    let integration = platform("pinterest");
    simulate(
        from_ref(&integration),
        |_| Reply::Never,
        async |world| {
            let large = serde_json::json!({ "note": "n".repeat(1 << 20) });
            world
                .queue_with(&integration, 0..24, |conversion| {
                    conversion.custom.more = large.as_object().unwrap().clone();
                })
                .await;
            sleep(seconds(10)).await;
            let held = world.counts().len();
            assert!((15..=17).contains(&held), "{held} of a MiB each");
            world.answer(taken);
            sleep(seconds(30)).await;
            assert_eq!(world.left().await, (0, 0));
        },
    );
}

/// The reasons of an integration's dead letters.
async fn reasons(world: &World, integration: &Integration) -> Vec<String> {
    let dead = world.forwarder.queue().dead(&integration.name, 10).await.unwrap();
    dead.into_iter().map(|letter| letter.why).collect()
}

#[test]
fn what_nobody_takes_for_three_days_is_a_dead_letter_and_is_kept() {
    let integration = platform("pinterest");
    simulate(
        from_ref(&integration),
        |_| Reply::Cut,
        async |world| {
            world.queue(&integration, 0..10).await;
            sleep(Duration::from_mins(10)).await;
            world.skip(Duration::from_hours(71)).await;
            world.pass(Duration::from_mins(49)).await;
            sleep(seconds(60)).await;
            assert_eq!(world.left().await, (10, 0));
            sleep(seconds(331)).await;
            assert_eq!(world.left().await, (0, 10));
            assert!(
                reasons(world, &integration).await.iter().all(|why| why.contains("longer than 72 hours"))
            );
            let before = world.told().len();
            assert!(world.told().iter().all(|told| told.at <= Duration::from_hours(72)));
            sleep(Duration::from_hours(1)).await;
            assert_eq!(world.told().len(), before, "a dead one was sent");
            world.answer(taken);
            assert_eq!(world.forwarder.queue().replay(None).await, Ok(10));
            sleep(seconds(301)).await;
            assert_eq!(world.left().await, (0, 0));
        },
    );
}

#[test]
fn what_is_too_old_for_its_platform_is_a_dead_letter_before_that() {
    for (name, age) in [("ga4", 72), ("meta", 7 * 24)] {
        let integration = platform(name);
        simulate(
            from_ref(&integration),
            |_| Reply::Cut,
            async |world| {
                let hour = 3_600_000;
                let occurred_at = world.moment().shifted(hour - age * hour);
                world.queue_with(&integration, [0], |conversion| conversion.occurred_at = occurred_at).await;
                world.queue(&integration, [1]).await;
                sleep(Duration::from_hours(1)).await;
                assert_eq!(world.left().await, (2, 0), "{name}");
                sleep(seconds(331)).await;
                assert_eq!(world.left().await, (1, 1), "{name}");
                let why = reasons(world, &integration).await.concat();
                assert!(why.contains(&format!("{name} takes no event older than {age} hours")), "{why}");
            },
        );
    }
}

#[test]
fn what_becomes_too_old_is_seen_while_a_platform_is_waited_for() {
    let integration = platform("ga4");
    let script =
        |told: &Told| if told.at < seconds(9) { Reply::Later(429, "80000".to_owned()) } else { taken(told) };
    simulate(from_ref(&integration), script, async |world| {
        world.queue(&integration, [0]).await;
        sleep(seconds(10)).await;
        let half_an_hour = 1_800_000;
        let occurred_at = world.moment().shifted(half_an_hour - 144 * half_an_hour);
        world.queue_with(&integration, [1], |conversion| conversion.occurred_at = occurred_at).await;
        world.pass(seconds(1_700)).await;
        sleep(seconds(90)).await;
        assert_eq!(world.left().await, (2, 0));
        sleep(seconds(60)).await;
        assert_eq!(world.left().await, (1, 1));
    });
}

#[test]
fn without_a_block_what_waits_becomes_too_old_as_well() {
    let integration = platform("twitter");
    simulate(from_ref(&integration), taken, async |world| {
        world.forwarder.configure(Vec::new());
        world.queue(&integration, 0..200).await;
        world.skip(Duration::from_hours(71)).await;
        world.pass(Duration::from_mins(59)).await;
        sleep(seconds(60)).await;
        assert_eq!(world.left().await, (200, 0));
        sleep(seconds(31)).await;
        assert_eq!(world.left().await, (0, 200));
        assert!(world.told().is_empty());
    });
}
