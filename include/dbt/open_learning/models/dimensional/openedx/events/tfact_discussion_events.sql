-- What learners did in the forums, one row for each event.
{% set actions = {
  'thread': ['edx.forum.thread.created'],
  'response': ['edx.forum.response.created'],
  'comment': ['edx.forum.comment.created'],
  'view': ['edx.forum.thread.viewed'],
  'search': ['edx.forum.searched'],
  'vote': ['edx.forum.thread.voted', 'edx.forum.response.voted'],
  'follow': ['edx.forum.thread.followed', 'edx.forum.thread.unfollowed'],
  'edit': ['edx.forum.thread.edited', 'edx.forum.response.edited', 'edx.forum.comment.edited'],
  'delete': ['edx.forum.thread.deleted', 'edx.forum.response.deleted', 'edx.forum.comment.deleted'],
  'report': ['edx.forum.thread.reported', 'edx.forum.response.reported', 'edx.forum.comment.reported'],
} %}

with events as (
  {{ arriving_events("logs.useractivity_event_type like 'edx.forum.%'") }}
)

select
  event_key,
  platform,
  courserun_readable_id,
  openedx_user_id,
  user_username,
  useractivity_session_id,
  {{ json_text('useractivity_event_object', '$.id') }} as forumcontent_id,
  {{ json_text('useractivity_event_object', '$.commentable_id') }} as discussiontopic_id,
  {{ json_text('useractivity_event_object', '$.category_name') }} as discussiontopic_name,
  useractivity_event_type as discussion_event_type,
  coalesce({{ action_of('useractivity_event_type', actions) }}, 'other') as discussion_action,
  {{ date_key('useractivity_timestamp') }} as event_date_key,
  useractivity_timestamp,
  tracking_log_retrieved_on
from events
