-- What learners did with videos, one row for each event: where the player was, and for a seek where it went.
{% set actions = {
  'load': ['load_video', 'edx.video.loaded'],
  'play': ['play_video', 'edx.video.played'],
  'pause': ['pause_video', 'edx.video.paused'],
  'stop': ['stop_video', 'edx.video.stopped'],
  'seek': ['seek_video', 'edx.video.position.changed'],
  'speed change': ['speed_change_video', 'edx.video.speed.changed'],
  'transcript': ['show_transcript', 'hide_transcript', 'edx.video.transcript.shown', 'edx.video.transcript.hidden'],
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
  {{ block_id('courserun_readable_id', "'video'", json_text('useractivity_event_object', '$.id')) }} as video_block_id,
  useractivity_event_type as video_event_type,
  {{ action_of('useractivity_event_type', actions) }} as video_event_action,
  {{ json_seconds('useractivity_event_object', ['$.currentTime', '$.current_time', '$.old_time']) }} as video_position_seconds,
  {{ json_seconds('useractivity_event_object', ['$.new_time']) }} as video_new_position_seconds,
  {{ json_seconds('useractivity_event_object', ['$.duration']) }} as video_duration_seconds,
  {{ date_key('useractivity_timestamp') }} as event_date_key,
  useractivity_timestamp,
  tracking_log_retrieved_on
from events
