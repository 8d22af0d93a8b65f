//! How fast platforms are told, how much at once, and how soon.

use tokio::time::sleep;

use super::simulation::{id, with_pages};
use super::*;
use crate::conversions::{Conversion, Integration, Secret};

/// Each platform's events a second and its largest request, as they are known of it.
const RATES: [(&str, usize, usize); 9] = [
    ("meta", 1_000, 1_000),
    ("tiktok", 50, 50),
    ("ga4", 25, 25),
    ("google_ads", 500, 100),
    ("google_ads legacy", 100, 1),
    ("snapchat", 100, 2_000),
    ("pinterest", 100, 1_000),
    ("twitter", 100, 500),
    ("webhook", 50, 1),
];

fn integration(name: &str) -> Integration {
    let Some(name) = name.strip_suffix(" legacy") else { return platform(name) };
    let mut integration = platform(name);
    integration.base_url = "https://googleads.googleapis.com".to_owned();
    integration.settings.insert("mode", Secret::new("legacy"));
    integration.settings.insert("developer_token", Secret::new("d"));
    integration
}

/// Events of the requests that begin within a time.
fn events(told: &[Told], from: Duration, length: Duration) -> usize {
    told.iter().filter(|told| (from..from + length).contains(&told.at)).map(|told| told.ids.len()).sum()
}

/// Has more wait than a platform takes, and looks at what it is told for half a minute.
#[track_caller]
fn keeps_to_its_rate(is_meant: impl Fn(&str) -> bool) {
    for (name, per_second, largest) in RATES.into_iter().filter(|(name, ..)| is_meant(name)) {
        let integration = integration(name);
        simulate(from_ref(&integration), taken, async |world| {
            world.queue(&integration, 0..31 * per_second).await;
            sleep(seconds(30)).await;
            let told = world.told();
            let all = events(&told, seconds(0), seconds(30));
            assert!(all <= 30 * per_second && all >= 27 * per_second, "{name}: {all} in 30 s");
            for one in &told {
                let in_a_second = events(&told, one.at, seconds(1));
                assert!(
                    in_a_second <= per_second,
                    "{name}: {in_a_second} in the second from {:?} on",
                    one.at
                );
            }
            let most = told.iter().map(|told| told.ids.len()).max().unwrap();
            assert_eq!(most, largest.min(per_second), "{name}");
            assert!(world.counts().values().all(|times| *times == 1), "{name}: told twice");
            // First come, first told.
            let expected: Vec<String> = (0..told.iter().map(|told| told.ids.len()).sum()).map(id).collect();
            assert_eq!(told.into_iter().flat_map(|told| told.ids).collect::<Vec<_>>(), expected, "{name}");
        });
    }
}

#[test]
fn with_a_full_queue_meta_is_told_at_its_rate_and_never_above_it() {
    keeps_to_its_rate(|name| name == "meta");
}

#[test]
fn with_a_full_queue_google_ads_is_told_at_its_rates_and_never_above_them() {
    keeps_to_its_rate(|name| name.starts_with("google_ads"));
}

#[test]
fn with_a_full_queue_the_others_are_told_at_their_rates_and_never_above_them() {
    keeps_to_its_rate(|name| name != "meta" && !name.starts_with("google_ads"));
}

#[test]
fn a_lone_event_leaves_within_a_tenth_of_a_second() {
    for (name, ..) in RATES {
        let integration = integration(name);
        simulate(from_ref(&integration), taken, async |world| {
            for (number, pause) in
                [millis(1), millis(47_301), millis(600), seconds(3_600)].into_iter().enumerate()
            {
                world.pass(pause).await;
                let came = world.now();
                world.queue(&integration, [number]).await;
                sleep(millis(150)).await;
                let told = world.told();
                assert_eq!(told.len(), number + 1, "{name}");
                let waited = between(came, told[number].at);
                assert!(waited < millis(100), "{name}: {waited:?}");
            }
            sleep(millis(1)).await;
            assert_eq!(world.left().await, (0, 0), "{name}");
        });
    }
}

#[test]
fn what_comes_at_nearly_the_same_time_goes_together() {
    let integration = platform("meta");
    simulate(from_ref(&integration), taken, async |world| {
        for number in 0..40 {
            world.queue(&integration, [number]).await;
            sleep(millis(10)).await;
        }
        sleep(seconds(1)).await;
        assert_eq!(world.counts().len(), 40);
        assert!((3..=5).contains(&world.told().len()), "{} requests in 0.4 s", world.told().len());
    });
}

#[test]
fn nobody_waits_for_the_limiter_when_fewer_come_than_the_platform_takes() {
    let integration = platform("tiktok");
    simulate(from_ref(&integration), taken, async |world| {
        let mut came = Vec::new();
        for number in 0..2_700 {
            if number % 9 == 0 {
                world.queue(&integration, number..number + 9).await;
                sleep(millis(200)).await;
            }
            came.push(millis(200) * u32::try_from(number / 9).unwrap());
        }
        sleep(seconds(5)).await;
        let told = world.told();
        for (number, came) in came.into_iter().enumerate() {
            let told = told.iter().find(|told| told.ids.contains(&id(number))).unwrap();
            let waited = between(came, told.at);
            assert!(waited <= seconds(2), "{number} waited for {waited:?}");
        }
    });
}

#[test]
fn what_comes_all_at_once_waits_for_its_turn_and_no_longer() {
    let integration = platform("tiktok");
    simulate(from_ref(&integration), taken, async |world| {
        world.queue(&integration, 0..2_000).await;
        sleep(seconds(45)).await;
        for told in world.told() {
            for id in told.ids {
                let before: u64 = id["id-".len()..].parse().unwrap();
                // At nine tenths of the rate at least, and a second for the request that it is part of.
                let most = millis(before * 1_000 / 45) + seconds(1);
                assert!(told.at <= most, "{id} waited for {:?}", told.at);
            }
        }
        assert_eq!(world.left().await, (0, 0));
    });
}

#[test]
fn a_large_request_is_not_passed_by_small_ones_for_ever() {
    // What has to be looked up keeps the pace with others that are.
    let integration = with_pages("tiktok");
    simulate(from_ref(&integration), taken, async |world| {
        world.queue(&integration, 0..50).await;
        sleep(millis(200)).await;
        world.queue(&integration, 50..100).await;
        for step in 0..300 {
            sleep(millis(100)).await;
            world.queue(&integration, (0..5).map(|number| 100 + 5 * step + number)).await;
        }
        let told = world.told();
        let large = told.iter().find(|told| told.ids.contains(&id(99))).unwrap();
        assert!(large.at < seconds(5), "it waited until {:?}", large.at);
    });
}

/// Nothing has to be looked up of it.
fn worth(conversion: &mut Conversion) {
    conversion.custom.value = Some(5.into());
    conversion.custom.currency = Some("EUR".to_owned());
}

#[test]
fn what_is_looked_up_is_not_passed_for_ever_by_what_is_not_nor_the_other_way_round() {
    for is_other in [false, true] {
        let integration = with_pages("tiktok");
        simulate(from_ref(&integration), taken, async |world| {
            let queue = async |numbers: std::ops::Range<usize>, is_worth: bool| {
                let change = |conversion: &mut Conversion| {
                    if is_worth {
                        worth(conversion);
                    }
                };
                world.queue_with(&integration, numbers, change).await;
            };
            // A little more than the platform takes, in small requests.
            for step in 0..300 {
                queue(100 + 5 * step..105 + 5 * step, !is_other).await;
                sleep(millis(100)).await;
                if step == 40 {
                    queue(0..50, is_other).await;
                }
            }
            let told = world.told();
            let last = told.iter().rfind(|told| told.ids.iter().any(|told| *told < id(50))).unwrap();
            assert!(last.at < seconds(12), "it waited until {:?}", last.at);
            assert!((0..50).all(|number| world.counts().contains_key(&id(number))));
            let all = events(&told, seconds(0), seconds(30));
            assert!((30 * 42..=30 * 50).contains(&all), "{all} in 30 s");
        });
    }
}

#[test]
fn a_platform_that_takes_its_time_is_told_at_its_rate_all_the_same() {
    for (name, per_second, latency) in [("tiktok", 50, seconds(3)), ("webhook", 50, seconds(1))] {
        let integration = platform(name);
        let slow = move |told: &Told| Reply::Late(latency, Box::new(taken(told)));
        simulate(from_ref(&integration), slow, async |world| {
            world.queue(&integration, 0..31 * per_second).await;
            sleep(seconds(30)).await;
            let all = events(&world.told(), seconds(0), seconds(30));
            assert!(all <= 30 * per_second && all >= 27 * per_second, "{name}: {all} in 30 s");
        });
    }
}
