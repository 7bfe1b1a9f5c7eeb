-- Contracts count whether active or not: what was learnt under an ended contract is still its organisation's.
select
  organizations.organization_id,
  organizations.organization_key,
  organizations.organization_name,
  contracts.b2b_contract_id,
  contracts.b2b_contract_name,
  contracts.b2b_contract_is_active,
  course_runs.courserun_id,
  course_runs.courserun_readable_id
from {{ ref('stg__mitxonline__app__postgres__courses_courserun') }} as course_runs
inner join {{ ref('stg__mitxonline__app__postgres__b2b_contractpage') }} as contracts on contracts.b2b_contract_id = course_runs.b2b_contract_id
inner join {{ ref('stg__mitxonline__app__postgres__b2b_organizationpage') }} as organizations on organizations.organization_id = contracts.organization_id
