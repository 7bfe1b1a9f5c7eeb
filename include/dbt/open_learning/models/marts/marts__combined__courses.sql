-- One row per course, with its runs and what they brought.
with runs as (
  select
    course_key,
    count(*) as courserun_count,
    count_if(courserun_is_live) as courserun_live_count,
    min(courserun_start_on) as first_courserun_start_on,
    max(courserun_start_on) as last_courserun_start_on
  from {{ ref('dim_course_run') }}
  where is_current
  group by course_key
),

enrollments as (
  select course_runs.course_key, count(*) as enrollment_count, count(distinct enrollments.user_key) as learner_count
  from {{ ref('tfact_enrollment') }} as enrollments
  inner join {{ ref('dim_course_run') }} as course_runs on course_runs.courserun_key = enrollments.courserun_key and course_runs.is_current
  where not enrollments.is_deleted
  group by course_runs.course_key
)

select
  courses.course_key,
  courses.platform,
  courses.course_readable_id,
  courses.course_title,
  courses.course_is_live,
  courses.program_readable_id,
  courses.program_title,
  coalesce(runs.courserun_count, 0) as courserun_count,
  coalesce(runs.courserun_live_count, 0) as courserun_live_count,
  runs.first_courserun_start_on,
  runs.last_courserun_start_on,
  coalesce(enrollments.enrollment_count, 0) as enrollment_count,
  coalesce(enrollments.learner_count, 0) as learner_count
from {{ ref('dim_course') }} as courses
left join runs on runs.course_key = courses.course_key
left join enrollments on enrollments.course_key = courses.course_key
