-- Every page of a course run that anybody opened or left.
with engagement as (
  select
    platform,
    courserun_readable_id,
    page_block_id,
    count(*) as learner_count,
    count_if(page_view_count > 0) as viewer_count,
    cast(sum(page_event_count) as bigint) as event_count,
    cast(sum(page_view_count) as bigint) as view_count,
    cast(sum(page_close_count) as bigint) as close_count,
    min(first_activity_on) as first_activity_on,
    max(last_activity_on) as last_activity_on
  from {{ ref('afact_course_page_engagement') }}
  group by platform, courserun_readable_id, page_block_id
),

content as (
  select * from {{ ref('dim_course_content') }} where is_latest
),

courses as (
  select platform, courserun_readable_id, max(courserun_title) as courserun_title
  from content
  group by platform, courserun_readable_id
)

select
  engagement.platform,
  engagement.courserun_readable_id,
  courses.courserun_title,
  engagement.page_block_id,
  coalesce(content.coursestructure_block_category, regexp_extract(engagement.page_block_id, '\+type@([^+]+)\+', 1)) as page_block_category,
  content.coursestructure_block_title as page_title,
  content.chapter_title,
  content.sequential_title,
  engagement.learner_count,
  engagement.viewer_count,
  engagement.event_count,
  engagement.view_count,
  engagement.close_count,
  engagement.first_activity_on,
  engagement.last_activity_on
from engagement
left join content
  on content.platform = engagement.platform and content.courserun_readable_id = engagement.courserun_readable_id
  and content.coursestructure_block_id = engagement.page_block_id
left join courses on courses.platform = engagement.platform and courses.courserun_readable_id = engagement.courserun_readable_id
