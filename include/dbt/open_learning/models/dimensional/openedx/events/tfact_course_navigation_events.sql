-- How learners moved through courses, one row for each event. A page is the block that was shown: the sequential, where the event does not say it
-- the unit or the chapter. The LMS writes a request for a page under its path, so that path is the type of the event.
{% set actions = {
  'next': ['seq_next', 'edx.ui.lms.sequence.next_selected'],
  'previous': ['seq_prev', 'edx.ui.lms.sequence.previous_selected'],
  'goto': ['seq_goto', 'edx.ui.lms.sequence.tab_selected'],
  'outline': ['edx.ui.lms.outline.selected', 'edx.ui.lms.jump_nav.selected'],
  'link': ['edx.ui.lms.link_clicked'],
  'screen': ['edx.bi.app.navigation.screen'],
  'close': ['page_close'],
} %}
{% set requested = "^/courses/[^/]+/courseware/|^/xblock/block-v1:[^/]+$" %}

with events as (
  {{ arriving_events(
    'logs.useractivity_event_type in (' ~ types_of(actions) ~ ") or regexp_like(logs.useractivity_event_type, '" ~ requested ~ "')"
  ) }}
),

placed as (
  select
    *,
    {{ json_text('useractivity_event_object', '$.id') }} as event_block_id,
    regexp_extract(useractivity_event_type, '/courseware/([^/?#]+)', 1) as chapter_name,
    regexp_extract(useractivity_event_type, '/courseware/[^/?#]+/([^/?#]+)', 1) as sequential_name
  from events
)

select
  event_key,
  platform,
  courserun_readable_id,
  openedx_user_id,
  user_username,
  useractivity_session_id,
  coalesce(
    if(event_block_id like 'block-v1:%', event_block_id),
    {{ block_id('courserun_readable_id', "'sequential'", 'sequential_name') }},
    {{ block_id('courserun_readable_id', "'chapter'", 'chapter_name') }},
    regexp_extract(useractivity_event_type, '^/xblock/(block-v1:[^/?#]+)', 1),
    regexp_extract(useractivity_page_url, '/xblock/(block-v1:[^/?#]+)', 1)
  ) as page_block_id,
  useractivity_event_type as navigation_event_type,
  coalesce({{ action_of('useractivity_event_type', actions) }}, 'view') as navigation_action,
  try_cast(coalesce({{ json_text('useractivity_event_object', '$.current_tab') }}, {{ json_text('useractivity_event_object', '$.old') }}) as bigint)
    as navigation_from_tab,
  try_cast(coalesce({{ json_text('useractivity_event_object', '$.target_tab') }}, {{ json_text('useractivity_event_object', '$.new') }}) as bigint)
    as navigation_to_tab,
  useractivity_page_url,
  {{ date_key('useractivity_timestamp') }} as event_date_key,
  useractivity_timestamp,
  tracking_log_retrieved_on
from placed
