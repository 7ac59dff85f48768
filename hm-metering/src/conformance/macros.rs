//! The lists of cases, and the macros that make tests of them.
//!
//! A suite's list is a macro that hands the names to another one, so that tests and function lists can't differ.
//! Cases in `many` run things at once and get a runtime with several threads.

/// Makes a test of each case.
#[doc(hidden)]
#[macro_export]
macro_rules! __conformance_tests {
    ([$suite:ident, $make:expr] one { $($one:ident)* } many { $($many:ident)* }) => {
        $(
            #[tokio::test]
            async fn $one() {
                $crate::conformance::$suite::$one($make().await).await;
            }
        )*
        $(
            #[tokio::test(flavor = "multi_thread", worker_threads = 4)]
            async fn $many() {
                $crate::conformance::$suite::$many($make().await).await;
            }
        )*
    };
}

/// Makes a list of the cases.
#[doc(hidden)]
#[macro_export]
macro_rules! __conformance_list {
    ([] one { $($one:ident)* } many { $($many:ident)* }) => {
        vec![
            $(Case::new(stringify!($one), |fixture| Box::pin($one(fixture))),)*
            $(Case::new(stringify!($many), |fixture| Box::pin($many(fixture))),)*
        ]
    };
}

#[doc(hidden)]
#[macro_export]
macro_rules! __key_store_cases {
    ([$($then:tt)*] $($with:tt)*) => {
        $($then)*! {
            [$($with)*]
            one {
                an_update_changes_what_it_names_and_nothing_else
                an_update_can_take_things_away
                a_key_can_be_switched_off_and_on
                revoking_switches_a_key_off
                revoking_again_changes_nothing
                a_revoked_key_can_not_be_updated
                every_change_of_a_key_is_in_the_feed
                a_cursor_can_be_used_again
                changes_of_accounts_are_in_the_feed
                scheduled_moves_are_in_the_feed
                the_feed_comes_in_pages
                revoking_again_is_not_in_the_feed
                a_key_is_found_with_its_accounts_plan
                a_key_is_found_under_any_of_several_digests
                an_unknown_digest_is_no_key
                digests_of_any_bytes_are_told_apart
                keys_that_are_not_valid_are_found
                a_found_key_has_the_plan_of_now
                a_found_key_has_the_scheduled_plan
                a_move_at_once_takes_a_scheduled_one_back
                the_keys_of_a_closed_account_say_so
                a_new_key_is_answered_as_it_was_given
                a_bare_key_is_kept_bare
                text_comes_back_as_it_was
                times_are_kept_to_the_microsecond
                a_key_keeps_all_its_networks_and_limits
                an_id_is_never_overwritten
                a_digest_is_never_overwritten
                a_revoked_key_is_never_overwritten
                a_key_needs_its_account
                keys_are_listed_newest_first
                pages_have_each_key_once
                a_page_has_at_least_one_key
                paging_is_stable_while_keys_are_made
                revoked_keys_are_listed
                an_account_without_keys_has_an_empty_list
                a_made_up_cursor_of_keys_is_invalid
                a_rehashed_key_is_found_under_its_new_digest_only
                a_rehash_that_comes_late_changes_nothing
                a_rehash_never_overwrites
                rehashing_is_not_in_the_feed
                rotating_keeps_the_replacement_and_ends_the_old_key
                rotating_never_lengthens_the_old_keys_life
                a_replacement_never_overwrites
                a_repeated_rotation_changes_nothing
                a_revoked_key_can_not_be_rotated
                another_accounts_key_is_not_there
                another_accounts_revoked_key_is_not_there
                a_list_has_the_accounts_own_keys
                a_key_is_not_rotated_into_another_account
                uses_add_up
                the_last_use_never_moves_back
                uses_of_unknown_keys_are_passed_over
                uses_are_not_in_the_feed
            }
            many {
                the_feed_loses_nothing_while_many_change
                one_of_many_inserts_wins
                one_of_many_revocations_counts
                one_of_many_equal_rotations_counts
                one_of_many_rehashes_counts
                simultaneous_updates_do_not_undo_each_other
                no_update_outruns_a_revocation
                simultaneous_uses_are_all_counted
                a_dropped_call_leaves_no_half_change
            }
        }
    };
}

/// Makes one test of each case for [`KeyStore`](crate::KeyStore).
///
/// Takes the name of an `async fn() -> Fixture<dyn KeyStore>` that makes a fresh store; see
/// [`conformance`](crate::conformance).
#[macro_export]
macro_rules! key_store_tests {
    ($make:expr $(,)?) => {
        $crate::__key_store_cases!([$crate::__conformance_tests] keys, $make);
    };
}

#[doc(hidden)]
#[macro_export]
macro_rules! __quota_store_cases {
    ([$($then:tt)*] $($with:tt)*) => {
        $($then)*! {
            [$($with)*]
            one {
                earlier_leases_are_given_back
                other_replicas_and_the_own_run_are_left_alone
                closing_again_gives_nothing_back
                units_of_a_closed_lease_are_counted
                a_closed_lease_does_not_open_again
                a_counter_begins_with_nothing_used
                a_lease_debits_what_it_grants
                the_last_units_are_granted_and_then_none
                nothing_is_granted_of_nothing
                the_greatest_limit_can_be_leased
                a_lease_keeps_its_token
                the_limit_is_the_one_of_each_ask
                a_repeated_lease_debits_once
                a_late_repeat_grants_what_it_granted
                a_late_operation_is_a_conflict
                each_holder_and_counter_has_its_own_numbers
                counters_do_not_touch_each_other
                counters_of_keys_do_not_touch_each_other
                a_periods_start_makes_the_counter
                far_away_periods_are_counted
                many_balances_are_answered_in_order
                released_units_can_be_leased_again
                a_repeated_release_gives_back_once
                a_whole_release_can_be_repeated
                more_than_was_leased_is_not_given_back
                settled_units_are_not_given_back
                a_late_release_is_a_conflict
                an_empty_lease_stays_open
                nothing_can_be_given_back
                a_closed_lease_gives_nothing_back
                settled_units_are_used_and_no_longer_leased
                a_batch_is_settled_once
                batches_are_told_apart
                nothing_can_be_settled
                a_counter_may_be_named_several_times
                units_without_a_lease_are_counted
                more_than_the_lease_has_is_counted
                the_greatest_number_can_be_settled
                a_lease_does_not_end_by_itself
                the_counters_of_a_window_share_its_limit
                a_window_is_the_sum_of_its_counters
                windows_of_keys_do_not_touch_each_other
                later_counters_of_a_window_count
                a_repeated_lease_of_a_window_debits_once
                a_window_that_is_over_its_limit_grants_nothing
            }
            many {
                many_sub_periods_get_exactly_the_limit
                many_holders_get_exactly_the_limit
                simultaneous_repeats_debit_once
                simultaneous_settlements_of_a_batch_count_once
                many_lease_settle_and_release_side_by_side
                settlements_in_any_order_do_not_block
                release_and_close_give_back_once
                a_dropped_call_can_be_repeated
            }
        }
    };
}

/// Makes one test of each case for [`QuotaStore`](crate::QuotaStore).
///
/// Takes the name of an `async fn() -> Fixture<dyn QuotaStore>` that makes a fresh store; see
/// [`conformance`](crate::conformance).
#[macro_export]
macro_rules! quota_store_tests {
    ($make:expr $(,)?) => {
        $crate::__quota_store_cases!([$crate::__conformance_tests] quota, $make);
    };
}

#[doc(hidden)]
#[macro_export]
macro_rules! __usage_sink_cases {
    ([$($then:tt)*] $($with:tt)*) => {
        $($then)*! {
            [$($with)*]
            one {
                a_repeated_batch_is_recognised
                a_batch_is_the_same_by_its_events
                an_empty_batch_is_recorded
                batches_of_any_origin_are_told_apart
                a_batch_id_with_other_events_is_a_conflict
                an_event_of_another_batch_is_a_conflict
                nothing_of_a_half_new_batch_is_recorded
                great_batch_numbers_are_kept
            }
            many {
                simultaneous_sends_of_a_batch_record_once
                simultaneous_batches_share_no_event
                a_dropped_send_can_be_repeated
            }
        }
    };
}

/// Makes one test of each case for [`UsageSink`](crate::UsageSink).
///
/// Takes the name of an `async fn() -> Fixture<dyn UsageSink>` that makes a fresh store; see
/// [`conformance`](crate::conformance).
#[macro_export]
macro_rules! usage_sink_tests {
    ($make:expr $(,)?) => {
        $crate::__usage_sink_cases!([$crate::__conformance_tests] usage, $make);
    };
}

#[doc(hidden)]
#[macro_export]
macro_rules! __usage_store_cases {
    ([$($then:tt)*] $($with:tt)*) => {
        $($then)*! {
            [$($with)*]
            one {
                events_come_back_as_they_were
                details_come_back_as_they_were
                tags_come_back_as_they_were
                text_of_events_comes_back_as_it_was
                ranges_are_exact_to_the_microsecond
                an_empty_range_has_no_events
                another_accounts_events_are_not_seen
                a_query_of_a_key_has_its_events_only
                a_repeated_batch_counts_once
                a_conflicting_batch_leaves_no_trace
                events_are_listed_newest_first
                pages_have_each_event_once
                a_page_has_at_least_one_event
                paging_is_stable_while_events_arrive
                a_made_up_cursor_of_events_is_invalid
                totals_tell_refused_from_failed
                totals_equal_the_sum_of_events
                meters_are_summed_up_apart
                great_sums_stop_at_the_end
                a_series_has_the_sums_of_each_grain
                a_series_is_cut_by_its_range
                a_series_has_a_greatest_length
                quantiles_are_by_nearest_rank
                quantiles_of_few_requests_are_recorded_times
                refused_requests_have_no_response_time
                response_times_are_those_of_the_query
                a_quantile_outside_its_range_is_invalid
                the_top_has_the_most_requests_first
                the_top_adds_up_to_the_totals
                the_top_is_that_of_the_query
                the_top_is_bounded
                active_accounts_are_counted_once_a_day_and_a_week
                active_accounts_are_those_of_the_range
                old_events_are_removed
                removing_is_bounded_and_oldest_first
                totals_have_the_events_that_are_left
                batch_ids_outlive_their_events
            }
            many {
                ten_thousand_events_are_recorded_at_once
                simultaneous_batches_are_all_counted
                a_dropped_send_counts_once
            }
        }
    };
}

/// Makes one test of each case for [`UsageStore`](crate::UsageStore).
///
/// Takes the name of an `async fn() -> Fixture<dyn UsageStore>` that makes a fresh store; see
/// [`conformance`](crate::conformance).
#[macro_export]
macro_rules! usage_store_tests {
    ($make:expr $(,)?) => {
        $crate::__usage_store_cases!([$crate::__conformance_tests] usage, $make);
    };
}

#[doc(hidden)]
#[macro_export]
macro_rules! __settling_store_cases {
    ([$($then:tt)*] $($with:tt)*) => {
        $($then)*! {
            [$($with)*]
            one {
                the_sink_is_the_one_that_settles
                recording_settles_once
                an_empty_batch_settles
                settling_a_recorded_batch_changes_nothing
                a_refused_batch_settles_nothing
            }
            many {
                many_sends_settle_once
                recording_and_leasing_keep_the_limit
            }
        }
    };
}

/// Makes one test of each case for [`SettlingStore`](crate::conformance::SettlingStore).
///
/// Takes the name of an `async fn() -> Fixture<dyn SettlingStore>` that makes a fresh store; see
/// [`conformance`](crate::conformance).
#[macro_export]
macro_rules! settling_store_tests {
    ($make:expr $(,)?) => {
        $crate::__settling_store_cases!([$crate::__conformance_tests] settling, $make);
    };
}

#[doc(hidden)]
#[macro_export]
macro_rules! __counting_store_cases {
    ([$($then:tt)*] $($with:tt)*) => {
        $($then)*! {
            [$($with)*]
            one {
                the_sink_is_the_one_that_counts
                recording_counts_what_reached_the_handler
                recording_again_counts_nothing
                a_refused_batch_counts_nothing
            }
            many {}
        }
    };
}

/// Makes one test of each case for [`CountingStore`](crate::conformance::CountingStore).
///
/// Takes the name of an `async fn() -> Fixture<dyn CountingStore>` that makes a fresh store; see
/// [`conformance`](crate::conformance).
#[macro_export]
macro_rules! counting_store_tests {
    ($make:expr $(,)?) => {
        $crate::__counting_store_cases!([$crate::__conformance_tests] counting, $make);
    };
}

#[doc(hidden)]
#[macro_export]
macro_rules! __rate_limiter_cases {
    ([$($then:tt)*] $($with:tt)*) => {
        $($then)*! {
            [$($with)*]
            one {
                a_burst_passes_and_then_the_rate_holds
                a_bucket_fills_up_to_its_burst
                the_wait_is_exact
                a_denial_changes_nothing
                several_limits_are_taken_all_or_none
                several_limits_are_all_taken_from
                the_longest_wait_is_named
                more_than_the_burst_is_never_allowed
                nothing_is_always_allowed
                a_clock_that_goes_back_gives_and_takes_nothing
                buckets_are_told_apart_by_their_names
            }
            many {
                many_at_once_get_exactly_the_burst
            }
        }
    };
}

/// Makes one test of each case for [`RateLimiter`](crate::RateLimiter).
///
/// Takes the name of an `async fn() -> Fixture<dyn RateLimiter>` that makes a fresh store; see
/// [`conformance`](crate::conformance).
#[macro_export]
macro_rules! rate_limiter_tests {
    ($make:expr $(,)?) => {
        $crate::__rate_limiter_cases!([$crate::__conformance_tests] rate, $make);
    };
}
