-- What each learner watched of each video: one row for each learner and video of a course run.
--
-- The player runs from a play until a pause, a stop or a new load of the page. A stretch of the timeline was played when the player ran from an event that
-- says where it was to the next one that does: pause, stop, seek (the position left), or play once more. A seek goes on from the position it went to.
-- What an event does not say counts as nothing: no position, a player that was not running, a position behind the one before, or one further ahead than the
-- time between two events allows at the fastest speed there is (2), because then an event between them is missing.
-- Seconds are those of the timeline, so the speed does not matter; video_watched_seconds has each second once, however often it was played.
{% set fastest, tolerance = 2, 2 %}

with events as (
  select *
  from {{ ref('tfact_video_events') }}
  where user_username is not null and courserun_readable_id is not null and video_block_id is not null
),

-- Of every event: where the player was, whether it ran afterwards, and from where. Events that neither move nor stop it are left out.
moves as (
  select
    *,
    last_value(case video_event_action when 'play' then true when 'seek' then null else false end) ignore nulls over running as is_playing,
    case video_event_action when 'play' then video_position_seconds when 'seek' then video_new_position_seconds end as starts_at,
    lead(if(video_event_action <> 'load', video_position_seconds)) over following as ends_at,
    lead(useractivity_timestamp) over following as ended_on
  from events
  where video_event_action in ('load', 'play', 'pause', 'stop', 'seek')
  window
    following as (
      partition by platform, courserun_readable_id, user_username, video_block_id, useractivity_session_id order by useractivity_timestamp, event_key
    ),
    running as (
      partition by platform, courserun_readable_id, user_username, video_block_id, useractivity_session_id order by useractivity_timestamp, event_key
      rows between unbounded preceding and current row
    )
),

stretches as (
  select platform, courserun_readable_id, user_username, video_block_id, starts_at, ends_at
  from moves
  where is_playing
    and ends_at > starts_at
    and (ends_at - starts_at) * 1000 <= {{ fastest }} * date_diff('millisecond', useractivity_timestamp, ended_on) + {{ tolerance * 1000 }}
),

-- Stretches that overlap or touch are one.
begun as (
  select
    *,
    coalesce(starts_at > max(ends_at) over (
      partition by platform, courserun_readable_id, user_username, video_block_id order by starts_at, ends_at
      rows between unbounded preceding and 1 preceding
    ), true) as is_new
  from stretches
),

numbered as (
  select
    *,
    count_if(is_new) over (
      partition by platform, courserun_readable_id, user_username, video_block_id order by starts_at, ends_at rows unbounded preceding
    ) as span
  from begun
),

spans as (
  select
    platform, courserun_readable_id, user_username, video_block_id, span,
    sum(ends_at - starts_at) as played_seconds,
    max(ends_at) - min(starts_at) as watched_seconds
  from numbered
  group by platform, courserun_readable_id, user_username, video_block_id, span
),

watched as (
  select platform, courserun_readable_id, user_username, video_block_id, sum(played_seconds) as played_seconds, sum(watched_seconds) as watched_seconds
  from spans
  group by platform, courserun_readable_id, user_username, video_block_id
),

counted as (
  select
    platform,
    courserun_readable_id,
    user_username,
    video_block_id,
    max(openedx_user_id) as openedx_user_id,
    count_if(video_event_action = 'load') as video_load_count,
    count_if(video_event_action = 'play') as video_play_count,
    count_if(video_event_action = 'pause') as video_pause_count,
    count_if(video_event_action = 'stop') as video_stop_count,
    count_if(video_event_action = 'seek') as video_seek_count,
    max(video_duration_seconds) as video_duration_seconds,
    count(distinct event_date_key) as days_active_count,
    min(useractivity_timestamp) as first_activity_on,
    max(useractivity_timestamp) as last_activity_on
  from events
  group by platform, courserun_readable_id, user_username, video_block_id
)

select
  {{ surrogate_key(['counted.platform', 'counted.courserun_readable_id', 'counted.user_username', 'counted.video_block_id']) }} as videoengagement_key,
  counted.*,
  cast(coalesce(watched.played_seconds, 0) as decimal(38, 6)) as video_played_seconds,
  cast(coalesce(watched.watched_seconds, 0) as decimal(38, 6)) as video_watched_seconds
from counted
left join watched
  on watched.platform = counted.platform and watched.courserun_readable_id = counted.courserun_readable_id
  and watched.user_username = counted.user_username and watched.video_block_id = counted.video_block_id
