select
  {{ surrogate_key(["'mitxonline'", 'organization_key']) }} as organization_pk,
  {{ surrogate_key(["'mitxonline'", 'courserun_id']) }} as courserun_key,
  'mitxonline' as platform,
  organization_key,
  courserun_readable_id,
  b2b_contract_id,
  b2b_contract_name,
  b2b_contract_is_active
from {{ ref('int__mitxonline__b2b_contract_to_courseruns') }}
