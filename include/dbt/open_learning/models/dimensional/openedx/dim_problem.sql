-- Problems of all courses as they are now: where they stand, from the LMS, and their settings, from the archive. Problems in a library are in the archive
-- alone, those of a course whose archive was not loaded yet in the structure alone.
with placed as (
  select * from {{ ref('dim_course_content') }} where is_latest and coursestructure_block_category = 'problem'
),

written as (
  select * from (
    {{ of_all_deployments('openedx__course_xml__blocks') }}
  ) where coursexml_block_category = 'problem'
)

select
  {{ surrogate_key([
    'coalesce(placed.platform, written.platform)', 'coalesce(placed.courserun_readable_id, written.courserun_readable_id)',
    'coalesce(placed.coursestructure_block_id, written.coursexml_block_id)'
  ]) }} as problem_key,
  coalesce(placed.platform, written.platform) as platform,
  coalesce(placed.courserun_readable_id, written.courserun_readable_id) as courserun_readable_id,
  coalesce(placed.coursestructure_block_id, written.coursexml_block_id) as problem_block_id,
  coalesce(placed.coursestructure_block_title, written.coursexml_block_title) as problem_title,
  placed.coursestructure_block_index,
  placed.chapter_block_id,
  placed.chapter_title,
  placed.sequential_block_id,
  placed.sequential_title,
  written.problem_max_attempts,
  written.problem_weight,
  written.problem_markdown,
  placed.coursecontent_key is not null as problem_is_in_structure
from placed
full outer join written
  on written.platform = placed.platform and written.courserun_readable_id = placed.courserun_readable_id
  and written.coursexml_block_id = placed.coursestructure_block_id
