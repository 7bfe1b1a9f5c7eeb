-- What each learner did with each problem: one row for each learner and problem of a course run.
select
  {{ surrogate_key(['platform', 'courserun_readable_id', 'user_username', 'problem_block_id']) }} as problemengagement_key,
  platform,
  courserun_readable_id,
  user_username,
  problem_block_id,
  max(openedx_user_id) as openedx_user_id,
  count_if(problem_is_attempt) as problem_attempt_count,
  count_if(problem_is_attempt and problem_is_correct) as problem_correct_attempt_count,
  count_if(problem_is_attempt and problem_is_correct) > 0 as problem_is_solved,
  count_if(problem_event_action = 'show answer') as problem_show_answer_count,
  count_if(problem_event_action = 'hint') as problem_hint_count,
  count_if(problem_event_action = 'save') as problem_save_count,
  count_if(problem_event_action = 'reset') as problem_reset_count,
  max(if(problem_max_grade > 0, problem_grade / problem_max_grade)) as problem_best_grade,
  count(distinct event_date_key) as days_active_count,
  min(useractivity_timestamp) as first_activity_on,
  max(useractivity_timestamp) as last_activity_on
from {{ ref('tfact_problem_events') }}
where user_username is not null and courserun_readable_id is not null and problem_block_id is not null
group by platform, courserun_readable_id, user_username, problem_block_id
