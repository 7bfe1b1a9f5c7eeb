-- Blocks of all deployments' courses as they are now, each under the chapter and the sequential that it follows in the order learners meet blocks.
-- A sequential ends with its chapter. Blocks that nothing leads to have index 0 and lie under nothing.
with blocks as (
  {{ of_all_deployments('openedx__api__course_blocks') }}
),

chaptered as (
  select
    *,
    last_value(if(coursestructure_block_category = 'chapter', coursestructure_block_id)) ignore nulls over reached as chapter_block_id,
    last_value(if(coursestructure_block_category = 'chapter', coursestructure_block_title)) ignore nulls over reached as chapter_title
  from blocks
  window reached as (
    partition by platform, courserun_readable_id, coursestructure_block_index = 0 order by coursestructure_block_index
    rows between unbounded preceding and current row
  )
),

placed as (
  select
    *,
    last_value(if(coursestructure_block_category = 'sequential', coursestructure_block_id)) ignore nulls over reached as sequential_block_id,
    last_value(if(coursestructure_block_category = 'sequential', coursestructure_block_title)) ignore nulls over reached as sequential_title
  from chaptered
  window reached as (
    partition by platform, courserun_readable_id, coursestructure_block_index = 0, chapter_block_id order by coursestructure_block_index
    rows between unbounded preceding and current row
  )
)

select
  platform,
  courserun_readable_id,
  courserun_title,
  coursestructure_content_hash,
  coursestructure_block_id,
  coursestructure_block_category,
  coursestructure_block_title,
  coursestructure_block_index,
  coursestructure_parent_block_id,
  if(coursestructure_block_index > 0, chapter_block_id) as chapter_block_id,
  if(coursestructure_block_index > 0, chapter_title) as chapter_title,
  if(coursestructure_block_index > 0, sequential_block_id) as sequential_block_id,
  if(coursestructure_block_index > 0, sequential_title) as sequential_title,
  coursestructure_block_start_on,
  coursestructure_block_due_on,
  coursestructure_retrieved_on
from placed
