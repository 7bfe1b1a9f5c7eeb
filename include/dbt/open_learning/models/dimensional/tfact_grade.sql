with grades as (
  select 'mitxonline' as platform, grades.*
  from {{ ref('stg__mitxonline__app__postgres__courses_courserungrade') }} as grades

  union all

  select 'xpro', grades.*
  from {{ ref('stg__mitxpro__app__postgres__courses_courserungrade') }} as grades
)

select
  {{ surrogate_key(['grades.platform', 'grades.courserungrade_id']) }} as grade_key,
  grades.platform,
  grades.courserungrade_id,
  grades.user_id,
  accounts.user_key,
  {{ surrogate_key(['grades.platform', 'grades.courserun_id']) }} as courserun_key,
  course_runs.courserun_readable_id,
  grades.courserungrade_grade,
  grades.courserungrade_letter_grade,
  grades.courserungrade_is_passing,
  grades.courserungrade_created_on,
  grades.courserungrade_updated_on
from grades
left join {{ ref('int__combined__course_runs') }} as course_runs on course_runs.platform = grades.platform and course_runs.courserun_id = grades.courserun_id
left join {{ ref('int__combined__user_accounts') }} as accounts
  on accounts.platform = grades.platform and accounts.account_is_application and accounts.account_id = grades.user_id
