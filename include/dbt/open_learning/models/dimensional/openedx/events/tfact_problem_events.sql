-- What learners did with problems, one row for each event. The server tells a judged answer, the browser the raw one: only the server's is an attempt.
{% set actions = {
  'check': ['problem_check', 'edx.problem.completed'],
  'check failed': ['problem_check_fail'],
  'graded': ['problem_graded'],
  'show': ['problem_show', 'edx.problem.show'],
  'show answer': ['showanswer'],
  'hint': ['edx.problem.hint.demandhint_displayed', 'edx.problem.hint.feedback_displayed'],
  'save': ['problem_save', 'save_problem_success'],
  'save failed': ['save_problem_fail'],
  'reset': ['problem_reset', 'reset_problem'],
  'reset failed': ['reset_problem_fail'],
  'rescore': ['problem_rescore'],
  'rescore failed': ['problem_rescore_fail'],
} %}

with events as (
  {{ arriving_events('logs.useractivity_event_type in (' ~ types_of(actions) ~ ')') }}
)

select
  event_key,
  platform,
  courserun_readable_id,
  openedx_user_id,
  user_username,
  useractivity_session_id,
  coalesce(
    {{ json_text('useractivity_event_object', '$.problem_id') }},
    {{ json_text('useractivity_event_object', '$.problem') }},
    useractivity_block_id
  ) as problem_block_id,
  useractivity_event_type as problem_event_type,
  {{ action_of('useractivity_event_type', actions) }} as problem_event_action,
  useractivity_event_source as problem_event_source,
  useractivity_event_type = 'problem_check' and useractivity_event_source = 'server' as problem_is_attempt,
  {{ json_text('useractivity_event_object', '$.success') }} = 'correct' as problem_is_correct,
  try_cast({{ json_text('useractivity_event_object', '$.attempts') }} as bigint) as problem_attempt_number,
  try_cast({{ json_text('useractivity_event_object', '$.grade') }} as double) as problem_grade,
  try_cast({{ json_text('useractivity_event_object', '$.max_grade') }} as double) as problem_max_grade,
  {{ date_key('useractivity_timestamp') }} as event_date_key,
  useractivity_timestamp,
  tracking_log_retrieved_on
from events
