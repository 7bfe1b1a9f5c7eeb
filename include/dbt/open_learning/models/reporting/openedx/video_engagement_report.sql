-- Every video of a course run that anybody did anything with. How long it is says the archive, else the player.
with engagement as (
  select
    platform,
    courserun_readable_id,
    video_block_id,
    count(*) as learner_count,
    count_if(video_watched_seconds > 0) as viewer_count,
    cast(sum(video_play_count) as bigint) as play_count,
    cast(sum(video_stop_count) as bigint) as completion_count,
    cast(sum(video_played_seconds) as decimal(38, 6)) as played_seconds,
    cast(sum(video_watched_seconds) as decimal(38, 6)) as watched_seconds,
    max(video_duration_seconds) as duration_seconds,
    min(first_activity_on) as first_activity_on,
    max(last_activity_on) as last_activity_on
  from {{ ref('afact_video_engagement') }}
  group by platform, courserun_readable_id, video_block_id
),

courses as (
  select platform, courserun_readable_id, max(courserun_title) as courserun_title
  from {{ ref('dim_course_content') }}
  where is_latest
  group by platform, courserun_readable_id
)

select
  engagement.platform,
  engagement.courserun_readable_id,
  courses.courserun_title,
  engagement.video_block_id,
  videos.video_title,
  videos.chapter_title,
  videos.sequential_title,
  coalesce(videos.video_duration_seconds, engagement.duration_seconds) as video_duration_seconds,
  engagement.learner_count,
  engagement.viewer_count,
  engagement.play_count,
  engagement.completion_count,
  engagement.played_seconds,
  engagement.watched_seconds,
  engagement.first_activity_on,
  engagement.last_activity_on
from engagement
left join {{ ref('dim_video') }} as videos
  on videos.platform = engagement.platform and videos.courserun_readable_id = engagement.courserun_readable_id
  and videos.video_block_id = engagement.video_block_id
left join courses on courses.platform = engagement.platform and courses.courserun_readable_id = engagement.courserun_readable_id
