-- Videos of all courses as they are now: where they stand, from the LMS, and how long they are, from the archive; in one of the two alone as dim_problem.
with placed as (
  select * from {{ ref('dim_course_content') }} where is_latest and coursestructure_block_category = 'video'
),

written as (
  {{ of_all_deployments('openedx__course_xml__video') }}
)

select
  {{ surrogate_key([
    'coalesce(placed.platform, written.platform)', 'coalesce(placed.courserun_readable_id, written.courserun_readable_id)',
    'coalesce(placed.coursestructure_block_id, written.video_block_id)'
  ]) }} as video_key,
  coalesce(placed.platform, written.platform) as platform,
  coalesce(placed.courserun_readable_id, written.courserun_readable_id) as courserun_readable_id,
  coalesce(placed.coursestructure_block_id, written.video_block_id) as video_block_id,
  placed.coursestructure_block_title as video_title,
  placed.coursestructure_block_index,
  placed.chapter_block_id,
  placed.chapter_title,
  placed.sequential_block_id,
  placed.sequential_title,
  written.video_edx_id,
  written.video_duration_seconds,
  placed.coursecontent_key is not null as video_is_in_structure
from placed
full outer join written
  on written.platform = placed.platform and written.courserun_readable_id = placed.courserun_readable_id
  and written.video_block_id = placed.coursestructure_block_id
