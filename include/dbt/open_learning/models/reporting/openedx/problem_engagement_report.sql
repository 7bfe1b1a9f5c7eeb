-- Every problem of a course run that anybody did anything with.
with engagement as (
  select
    platform,
    courserun_readable_id,
    problem_block_id,
    count(*) as learner_count,
    count_if(problem_attempt_count > 0) as attempting_learner_count,
    count_if(problem_is_solved) as solving_learner_count,
    cast(sum(problem_attempt_count) as bigint) as attempt_count,
    cast(sum(problem_correct_attempt_count) as bigint) as correct_attempt_count,
    cast(sum(problem_show_answer_count) as bigint) as show_answer_count,
    cast(sum(problem_hint_count) as bigint) as hint_count,
    min(first_activity_on) as first_activity_on,
    max(last_activity_on) as last_activity_on
  from {{ ref('afact_problem_engagement') }}
  group by platform, courserun_readable_id, problem_block_id
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
  engagement.problem_block_id,
  problems.problem_title,
  problems.chapter_title,
  problems.sequential_title,
  problems.problem_max_attempts,
  problems.problem_weight,
  engagement.learner_count,
  engagement.attempting_learner_count,
  engagement.solving_learner_count,
  engagement.attempt_count,
  engagement.correct_attempt_count,
  engagement.show_answer_count,
  engagement.hint_count,
  engagement.first_activity_on,
  engagement.last_activity_on
from engagement
left join {{ ref('dim_problem') }} as problems
  on problems.platform = engagement.platform and problems.courserun_readable_id = engagement.courserun_readable_id
  and problems.problem_block_id = engagement.problem_block_id
left join courses on courses.platform = engagement.platform and courses.courserun_readable_id = engagement.courserun_readable_id
