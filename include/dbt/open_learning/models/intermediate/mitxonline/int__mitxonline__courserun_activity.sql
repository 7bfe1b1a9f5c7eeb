-- What each Open edX account did in each run: one row per account and run with any courseware state.
with activity as (
  select
    openedx_user_id,
    courserun_readable_id,
    count(*) as blocks_touched_count,
    count_if(coursestructure_block_category = 'video') as videos_watched_count,
    count_if(coursestructure_block_category = 'problem' and studentmodule_problem_grade is not null) as problems_attempted_count,
    count_if(
      coursestructure_block_category = 'problem' and studentmodule_problem_max_grade > 0 and studentmodule_problem_grade >= studentmodule_problem_max_grade
    ) as problems_solved_count,
    count(distinct date(studentmodule_updated_on)) as days_active_count,
    min(studentmodule_created_on) as first_activity_on,
    max(studentmodule_updated_on) as last_activity_on
  from {{ ref('stg__mitxonline__openedx__mysql__courseware_studentmodule') }}
  group by openedx_user_id, courserun_readable_id
)

select activity.*, grades.coursegrade_percent
from activity
left join {{ ref('stg__mitxonline__openedx__mysql__grades_persistentcoursegrade') }} as grades
  on grades.openedx_user_id = activity.openedx_user_id and grades.courserun_readable_id = activity.courserun_readable_id
